package tlsutil_test

import (
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"math/big"
	"net"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/slipway-ci/slipway/internal/tlsutil"
	"pgregory.net/rapid"
)

// testCA makes a CA and a server certificate for 127.0.0.1, chained leaf first.
func testCA(t *testing.T, expires time.Time) (ca *x509.Certificate, caPEM []byte, server *tls.Certificate) {
	t.Helper()
	key, _, err := tlsutil.NewKey()
	if err != nil {
		t.Fatal(err)
	}
	tmpl := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "ca"}, NotBefore: time.Now().Add(-time.Hour),
		NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	if ca, err = x509.ParseCertificate(der); err != nil {
		t.Fatal(err)
	}
	leafKey, leafPEM, err := tlsutil.NewKey()
	if err != nil {
		t.Fatal(err)
	}
	leaf := &x509.Certificate{SerialNumber: big.NewInt(2), NotBefore: time.Now().Add(-time.Hour), NotAfter: expires,
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}}
	leafDER, err := x509.CreateCertificate(rand.Reader, leaf, ca, leafKey.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	caPEM = tlsutil.EncodeCert(der)
	server, err = tlsutil.KeyPair(append(tlsutil.EncodeCert(leafDER), caPEM...), leafPEM)
	if err != nil {
		t.Fatal(err)
	}
	return ca, caPEM, server
}

// handshake connects client to a server with the certificate and returns the client's error.
func handshake(t *testing.T, server *tls.Certificate, client *tls.Config) error {
	t.Helper()
	l, err := tls.Listen("tcp", "127.0.0.1:0", tlsutil.ServerTLS(func() (*tls.Certificate, error) { return server, nil }, x509.NewCertPool()))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	done := make(chan struct{})
	go func() {
		defer close(done)
		c, err := l.Accept()
		if err != nil {
			return
		}
		_ = c.(*tls.Conn).Handshake()
		_ = c.Close()
	}()
	conf := client.Clone()
	if conf.ServerName == "" {
		conf.ServerName = "127.0.0.1"
	}
	c, err := tls.Dial("tcp", l.Addr().String(), conf)
	if err == nil {
		_ = c.Close()
	}
	<-done
	return err
}

func TestClientTrustsOnlyItsCA(t *testing.T) {
	_, caPEM, server := testCA(t, time.Now().Add(time.Hour))
	_, otherPEM, _ := testCA(t, time.Now().Add(time.Hour))
	good, err := tlsutil.ClientTLS(caPEM, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := handshake(t, server, good); err != nil {
		t.Fatalf("own CA: %v", err)
	}
	bad, err := tlsutil.ClientTLS(otherPEM, nil)
	if err != nil {
		t.Fatal(err)
	}
	if handshake(t, server, bad) == nil {
		t.Fatal("accepted a server of another CA")
	}
	if _, err := tlsutil.ClientTLS([]byte("nonsense"), nil); err == nil {
		t.Fatal("accepted a CA file without a certificate")
	}
}

func TestServerRefusesOldTLS(t *testing.T) {
	_, caPEM, server := testCA(t, time.Now().Add(time.Hour))
	conf, err := tlsutil.ClientTLS(caPEM, nil)
	if err != nil {
		t.Fatal(err)
	}
	conf.MinVersion, conf.MaxVersion = tls.VersionTLS12, tls.VersionTLS12
	if handshake(t, server, conf) == nil {
		t.Fatal("the server spoke TLS 1.2")
	}
}

func TestPinnedChecksPinNameAndExpiry(t *testing.T) {
	ca, _, server := testCA(t, time.Now().Add(time.Hour))
	other, _, _ := testCA(t, time.Now().Add(time.Hour))
	expiredCA, _, expired := testCA(t, time.Now().Add(-time.Minute))
	for name, c := range map[string]struct {
		server  *tls.Certificate
		address string
		pin     string
		ok      bool
	}{
		"right":         {server, "127.0.0.1:7420", tlsutil.PinOf(ca), true},
		"other CA":      {server, "127.0.0.1:7420", tlsutil.PinOf(other), false},
		"other address": {server, "127.0.0.2:7420", tlsutil.PinOf(ca), false},
		"other name":    {server, "example.test:7420", tlsutil.PinOf(ca), false},
		"no name":       {server, "", tlsutil.PinOf(ca), false},
		"expired":       {expired, "127.0.0.1:7420", tlsutil.PinOf(expiredCA), false},
		"no pin":        {server, "127.0.0.1:7420", "", false},
	} {
		if err := handshake(t, c.server, tlsutil.PinnedTLS(c.address, c.pin, nil)); (err == nil) != c.ok {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestTokensCarryTheirPin(t *testing.T) {
	ca, _, _ := testCA(t, time.Now().Add(time.Hour))
	seen := map[string]bool{}
	for range 200 { // base64url secrets with underscores occur among these
		for _, prefix := range []string{tlsutil.UserToken, tlsutil.JoinToken} {
			token, err := tlsutil.NewToken(prefix, tlsutil.PinOf(ca))
			if err != nil {
				t.Fatal(err)
			}
			pin, ok := tlsutil.TokenPin(token)
			if !ok || pin != tlsutil.PinOf(ca) || seen[token] {
				t.Fatalf("token %q: pin %q %v, seen %v", token, pin, ok, seen[token])
			}
			seen[token] = true
		}
	}
	for _, bad := range []string{"", "slu_", strings.Repeat("x", 91), "sla_" + strings.Repeat("A", 43) + "_" + strings.Repeat("A", 43)} {
		if _, ok := tlsutil.TokenPin(bad); ok {
			t.Errorf("TokenPin accepted %q", bad)
		}
	}
}

func TestAgentIdentityRoundTrip(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		name := rapid.StringMatching(`[ -~äß/%?#]{1,30}`)
		want := tlsutil.AgentIdentity{ID: name.Draw(rt, "id"), Pool: name.Draw(rt, "pool"), Labels: rapid.SliceOfN(name, 1, 4).Draw(rt, "labels")}
		uris, err := want.URIs()
		if err != nil {
			rt.Fatal(err)
		}
		key, _, err := tlsutil.NewKey()
		if err != nil {
			rt.Fatal(err)
		}
		tmpl := &x509.Certificate{SerialNumber: big.NewInt(3), URIs: uris, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}
		der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, key.Public(), key)
		if err != nil {
			rt.Fatal(err)
		}
		cert, err := x509.ParseCertificate(der)
		if err != nil {
			rt.Fatal(err)
		}
		got, err := tlsutil.ParseAgentIdentity(cert)
		if err != nil || !reflect.DeepEqual(got, want) {
			rt.Fatalf("got %+v, %v; want %+v", got, err, want)
		}
	})
}

func TestAgentIdentityRefusesTheRest(t *testing.T) {
	if _, err := tlsutil.ParseAgentIdentity(&x509.Certificate{}); err == nil {
		t.Error("accepted a certificate without names")
	}
	twice := tlsutil.AgentIdentity{ID: "a", Pool: "p"}
	uris, err := twice.URIs()
	if err != nil {
		t.Fatal(err)
	}
	usage := []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}
	if _, err := tlsutil.ParseAgentIdentity(&x509.Certificate{URIs: append(uris, uris...), ExtKeyUsage: usage}); err == nil {
		t.Error("accepted two agents in one certificate")
	}
	if _, err := tlsutil.ParseAgentIdentity(&x509.Certificate{URIs: uris}); err == nil {
		t.Error("accepted a certificate that is not for clients")
	}
	if _, err := (tlsutil.AgentIdentity{ID: "a\n", Pool: "p"}).URIs(); err == nil {
		t.Error("accepted a control character")
	}
}

func TestCSR(t *testing.T) {
	keyPEM, csr, err := tlsutil.NewKeyAndCSR("host")
	if err != nil {
		t.Fatal(err)
	}
	key, err := tlsutil.ParseKey(keyPEM)
	if err != nil {
		t.Fatal(err)
	}
	pub, err := tlsutil.ParseCSR(csr)
	if err != nil || !key.PublicKey.Equal(pub) {
		t.Fatalf("ParseCSR: %v, %v", pub, err)
	}
	broken := []byte(strings.Replace(string(csr), "M", "N", 2))
	for _, bad := range [][]byte{nil, keyPEM, broken} {
		if _, err := tlsutil.ParseCSR(bad); err == nil {
			t.Errorf("accepted %.40q", bad)
		}
	}
}
