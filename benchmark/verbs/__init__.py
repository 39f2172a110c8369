"""One file a verb, with ``arguments`` and ``run``, and what verbs share. A verb imports what is heavy inside its functions."""
