package tlsutil

import (
	"crypto/x509"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
)

// Scheme of the URI SANs in an agent's certificate:
//
//	slipway://agent/ID   slipway://pool/NAME   slipway://label/NAME (any number)
const Scheme = "slipway"

// maxName bounds an id, a pool's name or a label, in bytes.
const maxName = 128

// AgentIdentity is what a coordinator certified of an agent.
type AgentIdentity struct {
	ID     string
	Pool   string
	Labels []string
}

// URIs returns the SANs that say it. Fails if a name is empty or too long, or has a control character.
func (a AgentIdentity) URIs() ([]*url.URL, error) {
	uris := make([]*url.URL, 0, 2+len(a.Labels))
	add := func(kind, name string) error {
		if err := CheckName(kind, name); err != nil {
			return err
		}
		uris = append(uris, &url.URL{Scheme: Scheme, Host: kind, Path: "/" + name, RawPath: "/" + url.PathEscape(name)})
		return nil
	}
	if err := add("agent", a.ID); err != nil {
		return nil, err
	}
	if err := add("pool", a.Pool); err != nil {
		return nil, err
	}
	for _, l := range a.Labels {
		if err := add("label", l); err != nil {
			return nil, err
		}
	}
	return uris, nil
}

// CheckName says what is wrong with the name of an agent, a pool, a label, a user or a group.
func CheckName(kind, name string) error {
	switch {
	case name == "":
		return fmt.Errorf("the %s is empty", kind)
	case len(name) > maxName:
		return fmt.Errorf("the %s %.32q… has %d bytes; at most %d are allowed", kind, name, len(name), maxName)
	case strings.ContainsFunc(name, func(r rune) bool { return r < ' ' || r == 0x7f || r == '\uFFFD' }):
		return fmt.Errorf("the %s %q has a control character or is not UTF-8", kind, name)
	}
	return nil
}

// ParseAgentIdentity reads the SANs of a verified certificate. Fails unless there is exactly one agent and one pool.
func ParseAgentIdentity(cert *x509.Certificate) (AgentIdentity, error) {
	var a AgentIdentity
	for _, u := range cert.URIs {
		if u.Scheme != Scheme {
			continue
		}
		name := strings.TrimPrefix(u.Path, "/")
		if err := CheckName(u.Host, name); err != nil {
			return AgentIdentity{}, fmt.Errorf("reading an agent's certificate: %w", err)
		}
		switch {
		case u.Host == "agent" && a.ID == "":
			a.ID = name
		case u.Host == "pool" && a.Pool == "":
			a.Pool = name
		case u.Host == "label":
			a.Labels = append(a.Labels, name)
		default:
			return AgentIdentity{}, fmt.Errorf("reading an agent's certificate: unexpected name %q", u)
		}
	}
	if a.ID == "" || a.Pool == "" {
		return AgentIdentity{}, errors.New("the certificate is not an agent's: it names no agent or no pool")
	}
	if !slices.Contains(cert.ExtKeyUsage, x509.ExtKeyUsageClientAuth) {
		return AgentIdentity{}, errors.New("the certificate is not an agent's: it is not for client authentication")
	}
	return a, nil
}
