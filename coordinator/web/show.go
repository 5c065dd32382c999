package web

import (
	"bytes"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"fmt"
	"html/template"
	"net/http"
	"path"
	"strings"
	"sync"

	"github.com/slipway-ci/slipway/coordinator/web/logview"
)

//go:embed templates static
var files embed.FS

// names of the templates that are pages of their own, each with the layout around it.
var pages = []string{"runs", "run", "job", "window", "signin", "onward", "error"}

// templates are parsed once: they are part of the program.
var templates = sync.OnceValue(func() map[string]*template.Template {
	out := map[string]*template.Template{}
	base := template.Must(template.New("layout.html").Funcs(template.FuncMap{"asset": asset}).ParseFS(files, "templates/layout.html", "templates/parts.html"))
	for _, name := range pages {
		out[name] = template.Must(template.Must(base.Clone()).ParseFS(files, "templates/"+name+".html"))
	}
	return out
})

// render makes a whole page, or with part one of its templates.
func render(page, part string, data any) ([]byte, error) {
	var b bytes.Buffer
	if err := templates()[page].ExecuteTemplate(&b, part, data); err != nil {
		return nil, fmt.Errorf("making page %s: %w", page, err)
	}
	return b.Bytes(), nil
}

// show answers with a page.
func (s *site) show(w http.ResponseWriter, r *http.Request, code int, page string, data any) {
	s.showPart(w, r, code, page, "layout.html", data)
}

func (s *site) showPart(w http.ResponseWriter, r *http.Request, code int, page, part string, data any) {
	body, err := render(page, part, data)
	if err != nil {
		s.Log.Error("a page could not be made", "path", r.URL.Path, "error", err)
		http.Error(w, "The page could not be made; the coordinator's log says why.", http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.WriteHeader(code)
	_, _ = w.Write(body) // who does not read it has left
}

// assets are the files that pages load, by name; version changes when any of them does.
type assets struct {
	version string
	content map[string][]byte
}

var loadAssets = sync.OnceValue(func() assets {
	a := assets{content: map[string][]byte{}}
	sum := sha256.New()
	entries, err := files.ReadDir("static")
	if err != nil {
		panic(err) // embedded
	}
	for _, e := range entries {
		b, err := files.ReadFile("static/" + e.Name())
		if err != nil {
			panic(err)
		}
		if e.Name() == "style.css" {
			b = append(b, palette()...)
		}
		a.content[e.Name()] = b
		sum.Write(b)
	}
	a.version = hex.EncodeToString(sum.Sum(nil))[:16]
	return a
})

// asset is the path of a file; it holds the version, so that browsers may keep it for ever.
func asset(name string) string { return "/static/" + loadAssets().version + "/" + name }

var contentTypes = map[string]string{".css": "text/css; charset=utf-8", ".js": "text/javascript; charset=utf-8", ".svg": "image/svg+xml"}

// static serves what pages load. It is the same for everybody, so it asks nobody to sign in.
func (s *site) static(w http.ResponseWriter, r *http.Request) {
	a := loadAssets()
	content, ok := a.content[r.PathValue("file")]
	if !ok || r.PathValue("version") != a.version {
		s.fail(w, r, http.StatusNotFound, "There is no such file.")
		return
	}
	w.Header().Set("Content-Type", contentTypes[path.Ext(r.PathValue("file"))])
	w.Header().Set("Cache-Control", "public, max-age=31536000, immutable")
	_, _ = w.Write(content)
}

// palette is the style of the colours of xterm's table that are the same in the dark.
func palette() []byte {
	var b strings.Builder
	for n := 16; n < 256; n++ {
		red, green, blue := logview.RGB(n)
		fmt.Fprintf(&b, ".f%d{color:#%02x%02x%02x}.b%d{background:#%02x%02x%02x}\n", n, red, green, blue, n, red, green, blue)
	}
	return []byte(b.String())
}
