"""The merged tree of a stack of layers: immutable, mapped from one file. Opens nothing itself."""

from imagefs.tree.dump import dump
from imagefs.tree.file import ROOT, Attr, Content, Tree, TreeError
from imagefs.tree.merge import build_tree

__all__ = ["ROOT", "Attr", "Content", "Tree", "TreeError", "build_tree", "dump"]
