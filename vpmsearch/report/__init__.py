"""Shows results: pictures, HTML, notebooks."""
