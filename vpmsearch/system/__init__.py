"""Helpers around the operating system and the interpreter: files, disks, threads, imports."""
