"""The catalogue of what a domain can change (`p2p domains --terms`)."""

from p2p.envs.terms.catalogue import TERMS, copy_fields, find_term
from p2p.envs.terms.term import Edit, Term, term

__all__ = ["TERMS", "Edit", "Term", "copy_fields", "find_term", "term"]
