package config_test

import (
	"strings"
	"testing"

	"github.com/slipway-ci/slipway/coordinator/config"
)

func TestAnExternalEtcd(t *testing.T) {
	for text, want := range map[string]string{
		"endpoints: ['https://etcd-1:2379', 'https://etcd-2:2379'], ca: /etc/ca.pem, cert: /etc/c.pem, key: /etc/c.key, username: u, password_file: /etc/p, namespace: /team-a": "",
		"endpoints: ['http://127.0.0.1:2379']":                       "",
		"namespace: /team-a":                                         "at least one",
		"endpoints: ['etcd-1:2379']":                                 "not of the form https://HOST:PORT",
		"endpoints: ['https://etcd-1:2379/path']":                    "not of the form https://HOST:PORT",
		"endpoints: ['http://etcd-1:2379']":                          "without TLS",
		"endpoints: ['https://etcd-1:2379'], cert: /etc/c.pem":       "cert and key belong together",
		"endpoints: ['https://etcd-1:2379'], username: u":            "username and password_file belong together",
		"endpoints: ['https://etcd-1:2379'], namespace: team-a":      "must begin with a slash",
		"endpoints: ['https://etcd-1:2379'], namespace: /team-a/":    "not end with one",
		"endpoints: ['https://etcd-1:2379'], password: in the clear": "password",
	} {
		_, err := config.Parse("slipway.yaml", []byte("data_dir: /x\nstore: {kind: external, external: {"+text+"}}\n"))
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%s: %v, want %q", text, err, want)
		}
	}
}
