"""What a result looks like: pictures, HTML, notebooks."""
