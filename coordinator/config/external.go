package config

import (
	"fmt"
	"net/url"
	"strings"
)

// ExternalEtcd is an etcd that others run.
type ExternalEtcd struct {
	// Endpoints as https://HOST:PORT; http:// is allowed for loopback addresses only.
	Endpoints []string `yaml:"endpoints"`
	// CA that signed the endpoints' certificates, PEM file; "" is the system's.
	CA string `yaml:"ca"`
	// Cert and Key are the coordinator's own, PEM files; both or neither.
	Cert string `yaml:"cert"`
	Key  string `yaml:"key"`
	// Username, and PasswordFile whose first line is the password; both or neither.
	Username     string `yaml:"username"`
	PasswordFile string `yaml:"password_file"`
	// Namespace is put in front of every key, so that several Slipways can share one etcd; "" is none.
	Namespace string `yaml:"namespace"`
}

// check says what is wrong: key → message.
func (e ExternalEtcd) check(add func(key, message string)) {
	if len(e.Endpoints) == 0 {
		add("endpoints", "an external etcd needs at least one, as https://HOST:2379")
	}
	for _, s := range e.Endpoints {
		u, err := url.Parse(s)
		switch {
		case err != nil || u.Host == "" || u.Port() == "" || u.Path != "" || u.Scheme != "https" && u.Scheme != "http":
			add("endpoints", fmt.Sprintf("%q is not of the form https://HOST:PORT", s))
		case u.Scheme == "http" && !isLoopback(u.Hostname()):
			add("endpoints", fmt.Sprintf("%q is without TLS; that is allowed for loopback addresses only, for all that runs is in there", s))
		}
	}
	if (e.Cert == "") != (e.Key == "") {
		add("cert", "cert and key belong together")
	}
	if (e.Username == "") != (e.PasswordFile == "") {
		add("username", "username and password_file belong together")
	}
	if e.Namespace != "" && (!strings.HasPrefix(e.Namespace, "/") || strings.HasSuffix(e.Namespace, "/")) {
		add("namespace", fmt.Sprintf("%q must begin with a slash and not end with one", e.Namespace))
	}
}

func isLoopback(host string) bool {
	return host == "localhost" || host == "::1" || strings.HasPrefix(host, "127.")
}
