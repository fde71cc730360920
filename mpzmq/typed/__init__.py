"""Functions whose annotations are kept: values of the application's types, and what their signatures say of them."""
