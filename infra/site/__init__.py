"""The documentation site: MkDocs reads the documents where they are, and this tells it how.

`links` says what a link of a document is on the site (pure); `hook` is what `mkdocs.yml` names;
`checks` looks at what was built. Nothing of the running system imports them.
"""
