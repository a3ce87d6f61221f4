"""The distribution API's client; the only importer of httpx2. Knows no layouts, stores or mounts.

Importing the package is cheap: the modules that need httpx2 are loaded when a registry is met.
"""
