"""Explorers: panels of ipywidgets over the real model, for JupyterLab and Voilà, without network.

A file a panel; all are drawn with the pieces of `surface` (HTML that can be clicked), `markup`
(tables and bars as HTML) and `explorer` (what every panel does).
"""
