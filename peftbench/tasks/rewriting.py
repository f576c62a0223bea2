"""What is put into a parsed template before it is compiled, so that the sandbox counts and weighs all that it does."""

from typing import Any

from jinja2 import nodes
from jinja2.visitor import NodeTransformer

COUNTED, JOINED, WEIGHED = " counted", " joined", " weighed"
"""Filters that the rewriting puts in; no template can write a name that begins with a space."""


class Guard(NodeTransformer):
    """Puts what counts and weighs into a parsed template."""

    def visit_For(self, node: nodes.For) -> nodes.Node:
        """Count rounds."""
        self.generic_visit(node)
        node.iter = _filter(node.iter, COUNTED)
        return node

    def visit_Concat(self, node: nodes.Concat) -> nodes.Node:
        """Weigh what `~` joins."""
        self.generic_visit(node)
        return _filter(nodes.List(node.nodes, lineno=node.lineno), JOINED)

    def visit_List(self, node: nodes.List) -> nodes.Node:
        """Weigh lists that a template writes: one that holds another twice doubles it."""
        self.generic_visit(node)
        return _filter(node, WEIGHED)

    def visit_Tuple(self, node: nodes.Tuple) -> nodes.Node:
        """Weigh tuples, but for those that names are set by."""
        self.generic_visit(node)
        return node if node.ctx == "store" else _filter(node, WEIGHED)

    def visit_Dict(self, node: nodes.Dict) -> nodes.Node:
        """Weigh tables."""
        self.generic_visit(node)
        return _filter(node, WEIGHED)

    def visit_Call(self, node: nodes.Call) -> nodes.Node:
        """Let methods be called by `Environment.method` alone."""
        self.generic_visit(node)
        if isinstance(node.node, nodes.Getattr):
            owner, name = node.node.node, nodes.Const(node.node.attr, lineno=node.lineno)
            node.node = nodes.EnvironmentAttribute("method", lineno=node.lineno)
            node.args = [owner, name, *node.args]
        return node


def _filter(node: Any, name: str) -> nodes.Filter:
    return nodes.Filter(node, name, [], [], None, None, lineno=node.lineno)
