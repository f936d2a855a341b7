"""What people read and do: the page, the terminal and the API share it."""
