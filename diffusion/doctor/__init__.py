"""Look at everything an installation rests on, and say what is wrong and what to do."""
