package server_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/server/v3/embed"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/slipway-ci/slipway/coordinator/config"
	"github.com/slipway-ci/slipway/internal/rpcerr"
	apiv1 "github.com/slipway-ci/slipway/proto/gen/slipway/api/v1"
)

// etcdDirEnv makes this test binary an etcd: a process of its own, with TLS on both sides, that can be killed.
const etcdDirEnv, etcdURLEnv = "SLIPWAY_TEST_ETCD_DIR", "SLIPWAY_TEST_ETCD_URL"

// serveEtcd is the etcd process.
func serveEtcd(dir, address string) error {
	cfg := embed.NewConfig()
	cfg.Dir, cfg.LogLevel, cfg.LogOutputs = filepath.Join(dir, "data"), "error", []string{filepath.Join(dir, "etcd.log")}
	client, err := url.Parse(address)
	if err != nil {
		return err
	}
	// A single member has no peers; a port of its choice will do.
	peer, _ := url.Parse("http://127.0.0.1:0")
	cfg.ListenClientUrls, cfg.AdvertiseClientUrls = []url.URL{*client}, []url.URL{*client}
	cfg.ListenPeerUrls, cfg.AdvertisePeerUrls = []url.URL{*peer}, []url.URL{*peer}
	cfg.InitialCluster = cfg.Name + "=" + peer.String()
	cfg.ClientTLSInfo.CertFile, cfg.ClientTLSInfo.KeyFile = filepath.Join(dir, "server.pem"), filepath.Join(dir, "server.key")
	cfg.ClientTLSInfo.TrustedCAFile, cfg.ClientTLSInfo.ClientCertAuth = filepath.Join(dir, "ca.pem"), true
	e, err := embed.StartEtcd(cfg)
	if err != nil {
		return err
	}
	return <-e.Err()
}

// ownEtcd is an etcd process with TLS, a user for Slipway, and a namespace that is all that this user may touch.
type ownEtcd struct {
	t       *testing.T
	dir     string
	address string
	cmd     *exec.Cmd
}

func startEtcd(t *testing.T) *ownEtcd {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	e := &ownEtcd{t: t, dir: t.TempDir(), address: "https://" + l.Addr().String()}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	e.certificates()
	e.up()
	t.Cleanup(e.down)
	c := e.client()
	defer c.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	for _, step := range []func() error{
		func() error { _, err := c.UserAdd(ctx, "root", "toor"); return err },
		func() error { _, err := c.UserGrantRole(ctx, "root", "root"); return err },
		func() error { _, err := c.RoleAdd(ctx, "slipway"); return err },
		func() error {
			_, err := c.RoleGrantPermission(ctx, "slipway", "/team-a/", clientv3.GetPrefixRangeEnd("/team-a/"), clientv3.PermissionType(clientv3.PermReadWrite))
			return err
		},
		func() error { _, err := c.UserAdd(ctx, "slipway", "secret"); return err },
		func() error { _, err := c.UserGrantRole(ctx, "slipway", "slipway"); return err },
		func() error { _, err := c.AuthEnable(ctx); return err },
	} {
		if err := step(); err != nil {
			t.Fatal(err)
		}
	}
	return e
}

func (e *ownEtcd) client() *clientv3.Client {
	e.t.Helper()
	pair, err := tls.LoadX509KeyPair(filepath.Join(e.dir, "client.pem"), filepath.Join(e.dir, "client.key"))
	if err != nil {
		e.t.Fatal(err)
	}
	ca, err := os.ReadFile(filepath.Join(e.dir, "ca.pem"))
	if err != nil {
		e.t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(ca)
	c, err := clientv3.New(clientv3.Config{Endpoints: []string{e.address}, TLS: &tls.Config{Certificates: []tls.Certificate{pair}, RootCAs: pool, MinVersion: tls.VersionTLS12}})
	if err != nil {
		e.t.Fatal(err)
	}
	return c
}

func (e *ownEtcd) up() {
	e.t.Helper()
	e.cmd = exec.Command(os.Args[0])
	e.cmd.Env = append(os.Environ(), etcdDirEnv+"="+e.dir, etcdURLEnv+"="+e.address)
	e.cmd.Stderr = os.Stderr
	if err := e.cmd.Start(); err != nil {
		e.t.Fatal(err)
	}
}

// down is kill -9.
func (e *ownEtcd) down() {
	if e.cmd != nil {
		_ = e.cmd.Process.Kill()
		_ = e.cmd.Wait() // killed
		e.cmd = nil
	}
}

// certificates makes a CA, a server's pair and a client's.
func (e *ownEtcd) certificates() {
	e.t.Helper()
	ca := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "ca"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		e.t.Fatal(err)
	}
	e.issue("ca", ca, ca, key, key)
	for i, name := range []string{"server", "client"} {
		own, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			e.t.Fatal(err)
		}
		leaf := &x509.Certificate{SerialNumber: big.NewInt(int64(i + 2)), NotBefore: ca.NotBefore, NotAfter: ca.NotAfter, KeyUsage: x509.KeyUsageDigitalSignature,
			ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}}
		e.issue(name, leaf, ca, own, key)
	}
}

func (e *ownEtcd) issue(name string, cert, parent *x509.Certificate, own, signer *ecdsa.PrivateKey) {
	e.t.Helper()
	der, err := x509.CreateCertificate(rand.Reader, cert, parent, &own.PublicKey, signer)
	if err != nil {
		e.t.Fatal(err)
	}
	raw, err := x509.MarshalPKCS8PrivateKey(own)
	if err != nil {
		e.t.Fatal(err)
	}
	for file, block := range map[string]*pem.Block{name + ".pem": {Type: "CERTIFICATE", Bytes: der}, name + ".key": {Type: "PRIVATE KEY", Bytes: raw}} {
		if err := os.WriteFile(filepath.Join(e.dir, file), pem.EncodeToMemory(block), 0o600); err != nil {
			e.t.Fatal(err)
		}
	}
}

func (e *ownEtcd) conf() config.ExternalEtcd {
	e.t.Helper()
	password := filepath.Join(e.dir, "password")
	if err := os.WriteFile(password, []byte("secret\n"), 0o600); err != nil {
		e.t.Fatal(err)
	}
	return config.ExternalEtcd{Endpoints: []string{e.address}, CA: filepath.Join(e.dir, "ca.pem"), Cert: filepath.Join(e.dir, "client.pem"), Key: filepath.Join(e.dir, "client.key"),
		Username: "slipway", PasswordFile: password, Namespace: "/team-a"}
}

// TestAnExternalEtcdThatGoesAway: its process is killed while a step runs. The coordinator lives on, refuses what it can't promise and says why,
// and goes on when etcd is back: the attempt is the same.
func TestAnExternalEtcdThatGoesAway(t *testing.T) {
	e := startEtcd(t)
	s := start(t, config.StoreExternal, func(c *config.Config) { c.Store.External = e.conf() })
	oneRun(t, s, func() {
		e.down()
		refusedWithoutStore(t, s)
		e.up()
		// Whoever asks until there is an answer gets one.
		for {
			_, err := apiv1.NewRunServiceClient(s.admin()).ListRuns(t.Context(), &apiv1.ListRunsRequest{})
			if err == nil {
				return
			}
			if c := status.Code(err); c != codes.Unavailable && c != codes.DeadlineExceeded && c != codes.ResourceExhausted {
				t.Fatal(err)
			}
		}
	})
	s.shutdown()
	s.start()
	// All of it is below the namespace, or the user had been refused.
	list, err := apiv1.NewRunServiceClient(s.admin()).ListRuns(t.Context(), &apiv1.ListRunsRequest{})
	if err != nil || len(list.GetRuns()) != 1 {
		t.Fatalf("%v %v", list, err)
	}
}

// refusedWithoutStore submits until the coordinator has noticed, and holds its words against what is so.
func refusedWithoutStore(t *testing.T, s *system) {
	t.Helper()
	admin := s.admin()
	for {
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
		_, err := submit(ctx, admin, ids.New(), workflow)
		cancel()
		switch reason := rpcerr.ReasonOf(err); {
		case err == nil:
			t.Fatal("a run was accepted without a store")
		case reason == rpcerr.StoreUnavailable:
			t.Log(err)
			return
		case reason == "" && status.Code(err) != codes.DeadlineExceeded, reason != "" && reason != rpcerr.NotLeader && reason != rpcerr.StoreUnavailable:
			t.Fatalf("refused with %v", err)
		}
	}
}

func TestAnExternalEtcdThatCannotBeUsedSaysWhy(t *testing.T) {
	e := startEtcd(t)
	for want, change := range map[string]func(*config.ExternalEtcd){
		"password_file": func(c *config.ExternalEtcd) { c.PasswordFile = "/nonexistent" },
		"no PEM":        func(c *config.ExternalEtcd) { c.CA = c.PasswordFile },
		"authentication failed": func(c *config.ExternalEtcd) {
			wrong := filepath.Join(t.TempDir(), "wrong")
			if err := os.WriteFile(wrong, []byte("nonsense"), 0o600); err != nil {
				t.Fatal(err)
			}
			c.PasswordFile = wrong
		},
		"permission denied": func(c *config.ExternalEtcd) { c.Namespace = "/team-b" },
	} {
		conf := e.conf()
		change(&conf)
		if err := startError(t, conf); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v does not say %q", err, want)
		}
	}
}

// A child of this test is an etcd, before any test begins.
func init() { //nolint:gochecknoinits // TestMain would need the flags of tests
	if dir := os.Getenv(etcdDirEnv); dir != "" {
		fmt.Fprintln(os.Stderr, serveEtcd(dir, os.Getenv(etcdURLEnv)))
		os.Exit(1)
	}
}
