"""authz: who you are and what you may do.

People, organisations and assignments; login, tokens and sessions; the policy and its engine.
Other services may import three of its modules and no more: :mod:`services.authz.events` (the
vocabulary of its facts), :mod:`services.authz.directory` (a fold of them into the importing
service's own tables, and who is calling), and :mod:`services.authz.engine` (the decision).
"""
