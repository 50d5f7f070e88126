"""The page at `/`: live figures for whoever looks at this system for the first time.

    board     figures of this process and of the others, looked at once a second at most
    routes    the page, its files, and the figures it draws; who may see them

`index.html`, `style.css`, `page.js` and `icon.svg` are served as they are: nothing is built, and
nothing comes from anywhere else, which the content security policy holds them to.
"""
