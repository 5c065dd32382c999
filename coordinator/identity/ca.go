package identity

import (
	"crypto/ecdsa"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"io/fs"
	"math/big"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"time"

	"github.com/slipway-ci/slipway/internal/tlsutil"
)

// Lifetimes of certificates.
const (
	caLife     = 10 * 365 * 24 * time.Hour
	serverLife = 7 * 24 * time.Hour
	// AgentLife is the longest that an agent's certificate holds; agents renew it after two thirds.
	AgentLife = 24 * time.Hour
	// skew is how far another host's clock may be behind.
	skew = 5 * time.Minute
)

// CA is the coordinator's certificate authority. Safe for concurrent use.
type CA struct {
	key     *ecdsa.PrivateKey
	cert    *x509.Certificate
	certPEM []byte
}

// OpenCA reads dir/ca-key.pem (0600) and dir/ca.pem, and makes what is missing. A lost ca.pem is made anew from the key, so
// pins in tokens stay right.
func OpenCA(dir string, now time.Time) (*CA, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("making the CA's directory: %w", err)
	}
	key, err := openKey(filepath.Join(dir, "ca-key.pem"))
	if err != nil {
		return nil, fmt.Errorf("opening the CA's key: %w", err)
	}
	path := filepath.Join(dir, "ca.pem")
	certPEM, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		if certPEM, err = selfSign(key, now); err == nil {
			err = writeFile(path, certPEM, 0o644)
		}
	}
	if err != nil {
		return nil, fmt.Errorf("opening the CA's certificate: %w", err)
	}
	cert, err := tlsutil.ParseCert(certPEM)
	if err != nil {
		return nil, fmt.Errorf("reading %s: %w", path, err)
	}
	if !key.PublicKey.Equal(cert.PublicKey) {
		return nil, fmt.Errorf("%s is not the certificate of the key beside it; remove it to have it made again", path)
	}
	if now.After(cert.NotAfter) {
		return nil, fmt.Errorf("the CA's certificate %s ended on %s; remove it to have it made again from the same key", path, cert.NotAfter.Format(time.DateOnly))
	}
	return &CA{key: key, cert: cert, certPEM: certPEM}, nil
}

func openKey(path string) (*ecdsa.PrivateKey, error) {
	data, err := readSecret(path)
	if errors.Is(err, fs.ErrNotExist) {
		key, keyPEM, err := tlsutil.NewKey()
		if err != nil {
			return nil, err
		}
		return key, writeFile(path, keyPEM, 0o600)
	}
	if err != nil {
		return nil, err
	}
	return tlsutil.ParseKey(data)
}

func selfSign(key *ecdsa.PrivateKey, now time.Time) ([]byte, error) {
	serial, err := newSerial()
	if err != nil {
		return nil, err
	}
	tmpl := &x509.Certificate{
		SerialNumber: serial, Subject: pkix.Name{CommonName: "Slipway CA"},
		NotBefore: now.Add(-skew), NotAfter: now.Add(caLife),
		IsCA: true, BasicConstraintsValid: true, MaxPathLenZero: true,
		KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, key.Public(), key)
	if err != nil {
		return nil, fmt.Errorf("signing the CA's certificate: %w", err)
	}
	return tlsutil.EncodeCert(der), nil
}

// newSerial returns a random serial number of 127 bits.
func newSerial() (*big.Int, error) {
	n, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
	if err != nil {
		return nil, fmt.Errorf("making a serial number: %w", err)
	}
	return n, nil
}

// PEM returns the CA's certificate.
func (ca *CA) PEM() []byte { return ca.certPEM }

// Pin returns what tokens carry to recognise this CA (tlsutil.PinOf).
func (ca *CA) Pin() string { return tlsutil.PinOf(ca.cert) }

// Pool returns the pool that holds only this CA.
func (ca *CA) Pool() *x509.CertPool {
	pool := x509.NewCertPool()
	pool.AddCert(ca.cert)
	return pool
}

// SignAgent certifies an agent for AgentLife and returns the PEM chain, leaf first.
func (ca *CA) SignAgent(pub *ecdsa.PublicKey, a tlsutil.AgentIdentity, now time.Time) ([]byte, error) {
	uris, err := a.URIs()
	if err != nil {
		return nil, fmt.Errorf("certifying an agent: %w", err)
	}
	return ca.sign(pub, &x509.Certificate{
		Subject: pkix.Name{CommonName: a.ID}, URIs: uris,
		NotBefore: now.Add(-skew), NotAfter: now.Add(AgentLife - skew),
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	})
}

// signServer certifies this coordinator for host names and IP addresses.
func (ca *CA) signServer(pub *ecdsa.PublicKey, hosts []string, now time.Time) ([]byte, error) {
	tmpl := &x509.Certificate{
		Subject:   pkix.Name{CommonName: "slipway coordinator"},
		NotBefore: now.Add(-skew), NotAfter: now.Add(serverLife),
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		URIs:        []*url.URL{{Scheme: tlsutil.Scheme, Host: "coordinator"}},
	}
	for _, h := range hosts {
		if ip := net.ParseIP(h); ip != nil {
			tmpl.IPAddresses = append(tmpl.IPAddresses, ip)
		} else {
			tmpl.DNSNames = append(tmpl.DNSNames, h)
		}
	}
	return ca.sign(pub, tmpl)
}

func (ca *CA) sign(pub *ecdsa.PublicKey, tmpl *x509.Certificate) ([]byte, error) {
	serial, err := newSerial()
	if err != nil {
		return nil, err
	}
	tmpl.SerialNumber = serial
	tmpl.KeyUsage = x509.KeyUsageDigitalSignature
	tmpl.BasicConstraintsValid = true
	der, err := x509.CreateCertificate(rand.Reader, tmpl, ca.cert, pub, ca.key)
	if err != nil {
		return nil, fmt.Errorf("signing a certificate: %w", err)
	}
	return append(tlsutil.EncodeCert(der), ca.certPEM...), nil
}

// derive returns 32 bytes for a purpose, from the CA's key.
func (ca *CA) derive(purpose string) ([]byte, error) {
	secret, err := ca.key.Bytes()
	if err != nil {
		return nil, fmt.Errorf("deriving a key: %w", err)
	}
	key, err := hkdf.Key(sha256.New, secret, nil, purpose, 32)
	if err != nil {
		return nil, fmt.Errorf("deriving a key: %w", err)
	}
	return key, nil
}
