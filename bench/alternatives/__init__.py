"""What could stand in the place of Podium's HTTP server and upstream transport, measured beside them."""
