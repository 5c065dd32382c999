package web

import (
	"bytes"
	"html/template"
	"regexp"
	"sync"

	"github.com/microcosm-cc/bluemonday"
	"github.com/yuin/goldmark"
	"github.com/yuin/goldmark/extension"
	"github.com/yuin/goldmark/renderer/html"
)

// A summary is GitHub's Markdown with HTML in it, so HTML is let through the one and cleaned by the other.
var (
	dialect = sync.OnceValue(func() goldmark.Markdown {
		return goldmark.New(goldmark.WithExtensions(extension.GFM), goldmark.WithRendererOptions(html.WithUnsafe()))
	})
	cleaner = sync.OnceValue(func() *bluemonday.Policy {
		p := bluemonday.NewPolicy()
		p.AllowElements("h1", "h2", "h3", "h4", "h5", "h6", "p", "br", "hr", "blockquote", "pre", "code", "kbd", "samp", "var", "em", "strong", "b", "i", "u", "s", "del", "ins",
			"sub", "sup", "small", "details", "summary", "dl", "dt", "dd")
		p.AllowLists()
		p.AllowTables()
		p.AllowAttrs("open").Matching(regexp.MustCompile(`^(open)?$`)).OnElements("details")
		p.AllowAttrs("align").Matching(regexp.MustCompile(`^(left|center|right)$`)).OnElements("td", "th")
		p.AllowAttrs("type").Matching(regexp.MustCompile(`^checkbox$`)).OnElements("input")
		p.AllowAttrs("checked", "disabled").Matching(regexp.MustCompile(`^$`)).OnElements("input")
		// No relative links: a summary is not a page of this site. No pictures: they would tell others who reads it.
		p.AllowAttrs("href").OnElements("a")
		p.AllowURLSchemes("https", "http", "mailto")
		p.RequireParseableURLs(true)
		p.RequireNoFollowOnLinks(true)
		p.RequireNoReferrerOnLinks(true)
		return p
	})
)

// markdown shows text that a workflow wrote. What it can't do is left out; no error is worth more than the text itself.
func markdown(text string) template.HTML {
	var b bytes.Buffer
	if err := dialect().Convert([]byte(text), &b); err != nil {
		return template.HTML("<pre>" + template.HTMLEscapeString(text) + "</pre>") //nolint:gosec // escaped
	}
	return template.HTML(cleaner().SanitizeBytes(b.Bytes())) //nolint:gosec // sanitised
}
