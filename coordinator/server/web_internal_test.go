package server

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/slipway-ci/slipway/coordinator/config"
	"github.com/slipway-ci/slipway/coordinator/identity"
	"github.com/slipway-ci/slipway/internal/clock"
)

func TestWebURL(t *testing.T) {
	for _, c := range []struct {
		conf    config.Web
		hosts   []string
		address string
		want    string
	}{
		{config.Web{}, nil, "127.0.0.1:7423", "https://127.0.0.1:7423"},
		{config.Web{}, nil, "[::]:7423", "https://localhost:7423"},
		{config.Web{}, []string{"ci.example.test", "x"}, "[::]:7423", "https://ci.example.test:7423"},
		{config.Web{}, []string{"ci.example.test"}, "[::1]:7423", "https://[::1]:7423"},
		{config.Web{URL: "https://ci.example.test"}, []string{"x"}, "0.0.0.0:7423", "https://ci.example.test"},
	} {
		if got := webURL(c.conf, c.hosts, c.address); got != c.want {
			t.Errorf("%+v %v at %s: %s, want %s", c.conf, c.hosts, c.address, got, c.want)
		}
	}
}

// A certificate that was replaced is taken at the next handshake; files that do not belong together leave the one before.
func TestCertFilesAreReadAgain(t *testing.T) {
	dir := t.TempDir()
	f := &certFiles{cert: filepath.Join(dir, "cert"), key: filepath.Join(dir, "key")}
	if _, err := f.get(); err == nil {
		t.Error("files that are not there make a certificate")
	}
	ca, err := identity.OpenCA(t.TempDir(), time.Now())
	if err != nil {
		t.Fatal(err)
	}
	at := time.Now().Add(-time.Hour)
	write := func(path string, data []byte) {
		t.Helper()
		at = at.Add(time.Minute) // file systems round times
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chtimes(path, at, at); err != nil {
			t.Fatal(err)
		}
	}
	pairs := [2][2][]byte{}
	for i := range pairs {
		if pairs[i], err = pemPair(ca); err != nil {
			t.Fatal(err)
		}
	}
	leaf := func() []byte {
		t.Helper()
		got, err := f.get()
		if err != nil {
			t.Fatal(err)
		}
		return got.Certificate[0]
	}
	write(f.cert, pairs[0][0])
	write(f.key, pairs[0][1])
	first := leaf()
	write(f.cert, pairs[1][0])
	if !bytes.Equal(leaf(), first) {
		t.Error("a certificate with another's key was taken")
	}
	write(f.key, pairs[1][1])
	if bytes.Equal(leaf(), first) {
		t.Error("the new certificate was not taken")
	}
}

// pemPair is a fresh certificate of the CA with its key, PEM.
func pemPair(ca *identity.CA) (pair [2][]byte, err error) {
	cert, err := identity.NewServerCert(ca, []string{"localhost"}, clock.Real{}).Get()
	if err != nil {
		return pair, err
	}
	return encodePair(cert)
}

func encodePair(cert *tls.Certificate) (pair [2][]byte, err error) {
	key, err := x509.MarshalPKCS8PrivateKey(cert.PrivateKey)
	if err != nil {
		return pair, err
	}
	pair[0] = pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert.Certificate[0]})
	pair[1] = pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: key})
	return pair, nil
}
