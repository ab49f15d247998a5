"""What is asked of the operating system: files replaced whole, work ahead in threads."""
