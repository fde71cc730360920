"""mpzmq demo."""
