"""The commands of ``casewarden``, one a module, imported only when they run."""
