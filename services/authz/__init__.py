"""authz: who you are and what you may do.

People, organisations and assignments; login, tokens and sessions; the policy and its engine.
Other services may import four of its modules and no more: :mod:`services.authz.events` (the
vocabulary of its facts), :mod:`services.authz.access` (who signed a token),
:mod:`services.authz.directory` (a fold of its facts into the importing service's own tables, and
who is calling), and :mod:`services.authz.engine` (the decision).
"""
