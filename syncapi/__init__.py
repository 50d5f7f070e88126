"""The sync API: one request, one answer. Stateless; any instance answers any user."""
