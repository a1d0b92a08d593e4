"""authz: who you are and what you may do.

People, organisations and assignments; login, tokens and sessions; the policy and its engine.
Other services may import four things of it and no more: the vocabulary of the facts they fold
(:mod:`services.authz.events`; audit also :mod:`services.authz.session_events` and
:mod:`services.authz.client_events`), who signed a token (:mod:`services.authz.access`), who there
is and who is calling (:mod:`services.authz.directory`), and the decision
(:mod:`services.authz.engine`). Their wiring adds :mod:`services.authz.directory_fold`, which keeps
the directory in the importing service's own tables.
"""
