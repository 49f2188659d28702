"""Small inference servers on 127.0.0.1 whose behaviour is known, each in a process of its own."""
