"""mpzmq doctor."""
