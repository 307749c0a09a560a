"""What goes up: to the bucket, as public ZIPs, and what is removed there."""
