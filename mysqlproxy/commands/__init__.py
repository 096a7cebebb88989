"""What the commands do, one module each; ``cli`` holds their arguments."""
