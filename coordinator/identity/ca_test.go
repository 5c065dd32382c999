package identity_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/slipway-ci/slipway/coordinator/identity"
	"github.com/slipway-ci/slipway/internal/clock"
	"github.com/slipway-ci/slipway/internal/tlsutil"
)

var now = time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)

func openCA(t *testing.T, dir string) *identity.CA {
	t.Helper()
	ca, err := identity.OpenCA(dir, now)
	if err != nil {
		t.Fatal(err)
	}
	return ca
}

func TestCAIsKeptAndItsKeyIsPrivate(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "pki")
	ca := openCA(t, dir)
	keyFile := filepath.Join(dir, "ca-key.pem")
	info, err := os.Stat(keyFile)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Fatalf("the key's mode: %v, %v", info.Mode(), err)
	}
	if again := openCA(t, dir); again.Pin() != ca.Pin() || string(again.PEM()) != string(ca.PEM()) {
		t.Fatal("a second start made another CA")
	}
	if err := os.Remove(filepath.Join(dir, "ca.pem")); err != nil {
		t.Fatal(err)
	}
	if again := openCA(t, dir); again.Pin() != ca.Pin() {
		t.Fatal("a CA whose certificate was lost has another pin")
	}
	if err := os.Chmod(keyFile, 0o640); err != nil {
		t.Fatal(err)
	}
	if _, err := identity.OpenCA(dir, now); err == nil || !strings.Contains(err.Error(), "chmod 600") {
		t.Fatalf("a key that others can read: %v", err)
	}
}

func TestCARefusesWhatDoesNotFit(t *testing.T) {
	dir, other := t.TempDir(), t.TempDir()
	openCA(t, dir)
	openCA(t, other)
	foreign, err := os.ReadFile(filepath.Join(other, "ca.pem"))
	if err != nil {
		t.Fatal(err)
	}
	for name, content := range map[string][]byte{"foreign": foreign, "garbage": []byte("garbage"), "empty": nil} {
		if err := os.WriteFile(filepath.Join(dir, "ca.pem"), content, 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := identity.OpenCA(dir, now); err == nil {
			t.Errorf("accepted a %s ca.pem", name)
		}
	}
	if err := os.Remove(filepath.Join(dir, "ca.pem")); err != nil {
		t.Fatal(err)
	}
	openCA(t, dir)
	if _, err := identity.OpenCA(dir, now.AddDate(11, 0, 0)); err == nil || !strings.Contains(err.Error(), "ended") {
		t.Fatalf("an old CA: %v", err)
	}
}

func TestAgentCertificatesAreShort(t *testing.T) {
	ca := openCA(t, t.TempDir())
	_, csr, err := tlsutil.NewKeyAndCSR("host")
	if err != nil {
		t.Fatal(err)
	}
	pub, err := tlsutil.ParseCSR(csr)
	if err != nil {
		t.Fatal(err)
	}
	chain, err := ca.SignAgent(pub, tlsutil.AgentIdentity{ID: "a1", Pool: "default", Labels: []string{"big"}}, now)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := tlsutil.ParseCert(chain)
	if err != nil {
		t.Fatal(err)
	}
	if life := cert.NotAfter.Sub(cert.NotBefore); life > 24*time.Hour || life < 23*time.Hour {
		t.Errorf("life %v", life)
	}
	if cert.IsCA {
		t.Error("an agent can sign")
	}
	if _, err := ca.SignAgent(pub, tlsutil.AgentIdentity{ID: "a1"}, now); err == nil {
		t.Error("signed an agent without a pool")
	}
}

func TestServerCertificateIsRotatedInProcess(t *testing.T) {
	c := clock.NewFake(now)
	s := identity.NewServerCert(openCA(t, t.TempDir()), []string{"ci.example.test", "127.0.0.1"}, c)
	first, err := s.Get()
	if err != nil {
		t.Fatal(err)
	}
	if err := first.Leaf.VerifyHostname("ci.example.test"); err != nil {
		t.Error(err)
	}
	if err := first.Leaf.VerifyHostname("127.0.0.1"); err != nil {
		t.Error(err)
	}
	c.Advance(4 * 24 * time.Hour)
	if same, _ := s.Get(); same != first {
		t.Error("rotated with more than a third left")
	}
	c.Advance(24 * time.Hour)
	second, err := s.Get()
	if err != nil || second == first || !second.Leaf.NotAfter.After(first.Leaf.NotAfter) {
		t.Errorf("not rotated: %v", err)
	}
}
