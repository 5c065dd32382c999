package config

import (
	"net"
	"net/url"
	"path/filepath"
)

// Web is the coordinator's read-only pages.
type Web struct {
	// Listen is their address, host:port, TLS only; "" serves none.
	Listen string `yaml:"listen"`
	// URL is how browsers reach them, as https://ci.example.org; "" is made of Listen and the first of Hosts.
	URL string `yaml:"url"`
	// Cert and Key are PEM files of a certificate that browsers know, read again when they change; both or neither. Without them the
	// coordinator's own CA signs.
	Cert string `yaml:"cert"`
	Key  string `yaml:"key"`
}

func (c Config) checkWeb(add func(key []string, hint, format string, args ...any)) {
	w := c.Web
	if w.Listen == "" {
		if w != (Web{}) {
			add([]string{"web"}, "such as 127.0.0.1:7423", "no `listen`, so there are no pages")
		}
		return
	}
	if _, _, err := net.SplitHostPort(w.Listen); err != nil {
		add([]string{"web", "listen"}, "", "%q is not host:port", w.Listen)
	}
	if u, err := url.Parse(w.URL); w.URL != "" && (err != nil || u.Scheme != "https" || u.Host == "" || u.Path != "" || u.RawQuery != "" || u.Fragment != "" || u.User != nil) {
		add([]string{"web", "url"}, "without a path", "%q is not of the form https://HOST or https://HOST:PORT", w.URL)
	}
	if (w.Cert == "") != (w.Key == "") {
		add([]string{"web", "cert"}, "", "cert and key belong together")
	}
	for key, path := range map[string]string{"cert": w.Cert, "key": w.Key} {
		if path != "" && !filepath.IsAbs(path) {
			add([]string{"web", key}, "", "%q is not an absolute path", path)
		}
	}
}
