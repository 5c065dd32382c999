package identity_test

import (
	"context"
	"crypto/ecdsa"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/slipway-ci/slipway/coordinator/identity"
	"github.com/slipway-ci/slipway/coordinator/store"
	"github.com/slipway-ci/slipway/coordinator/store/memstore"
	"github.com/slipway-ci/slipway/internal/clock"
	"github.com/slipway-ci/slipway/internal/rpcerr"
	"github.com/slipway-ci/slipway/internal/tlsutil"
)

var admin = identity.Principal{Kind: identity.User, Name: "root", Groups: []string{identity.Admins}}

func newTokens(t *testing.T, s store.Store) (*identity.Tokens, *clock.Fake) {
	t.Helper()
	c := clock.NewFake(now)
	tokens, err := identity.NewTokens(openCA(t, t.TempDir()), s, c)
	if err != nil {
		t.Fatal(err)
	}
	return tokens, c
}

func request(id string) identity.Request { return identity.Request{ID: id, Principal: admin} }

func TestUserTokens(t *testing.T) {
	s := memstore.New()
	tokens, c := newTokens(t, s)
	token, expires, err := tokens.CreateUser(t.Context(), request("r1"), "ann", []string{"dev"}, time.Hour)
	if err != nil || !expires.Equal(now.Add(time.Hour)) {
		t.Fatal(expires, err)
	}
	p, err := tokens.Authenticate(t.Context(), token)
	if err != nil || p.String() != "user:ann" || !p.In("dev") || p.In(identity.Admins) {
		t.Fatalf("%+v, %v", p, err)
	}
	if _, ok := tlsutil.TokenPin(token); !ok {
		t.Error("the token has no pin")
	}
	kvs, _, err := s.Range(t.Context(), "/", "0", 0)
	if err != nil || len(kvs) != 1 {
		t.Fatal(kvs, err)
	}
	if secret := token[4:47]; strings.Contains(kvs[0].Key+string(kvs[0].Value), secret) {
		t.Error("the token itself is stored")
	}
	for _, bad := range []string{"", "slu_x", token + "x", strings.Replace(token, "slu", "slj", 1)} {
		if _, err := tokens.Authenticate(t.Context(), bad); rpcerr.ReasonOf(err) != rpcerr.Unauthenticated {
			t.Errorf("%q: %v", bad, err)
		}
	}
	c.Advance(time.Hour)
	if _, err := tokens.Authenticate(t.Context(), token); rpcerr.ReasonOf(err) != rpcerr.Unauthenticated || !strings.Contains(err.Error(), "ended") {
		t.Errorf("after its end: %v", err)
	}
}

func TestRepeatedRequestsGetTheSameToken(t *testing.T) {
	tokens, c := newTokens(t, memstore.New())
	create := func(r identity.Request, user string, groups ...string) string {
		token, _, err := tokens.CreateUser(t.Context(), r, user, groups, 0)
		if err != nil {
			t.Fatal(err)
		}
		return token
	}
	first := create(request("r1"), "ann", "dev")
	c.Advance(time.Minute)
	if create(request("r1"), "ann", "dev") != first {
		t.Error("a repeat made another token")
	}
	_, expires, _ := tokens.CreateUser(t.Context(), request("r1"), "ann", []string{"dev"}, 0)
	if !expires.Equal(now.Add(90 * 24 * time.Hour)) {
		t.Errorf("a repeat moved the end to %v", expires)
	}
	other := identity.Request{ID: "r1", Principal: identity.Principal{Kind: identity.User, Name: "eve", Groups: []string{identity.Admins}}}
	seen := map[string]bool{first: true}
	for i, token := range []string{create(request("r2"), "ann", "dev"), create(other, "ann", "dev"), create(request("r1"), "bob", "dev"),
		create(request("r1"), "ann"), create(request("r1"), "ann", "d", "ev")} {
		if seen[token] {
			t.Errorf("request %d, which differs, got a token again", i)
		}
		seen[token] = true
	}
}

func TestBadTokenRequests(t *testing.T) {
	tokens, _ := newTokens(t, memstore.New())
	many := make([]string, 65)
	for i := range many {
		many[i] = "g"
	}
	try := func(name string, err error) {
		if rpcerr.ReasonOf(err) != rpcerr.InvalidRequest {
			t.Errorf("%s: %v", name, err)
		}
	}
	_, _, err := tokens.CreateUser(t.Context(), request(""), "ann", nil, 0)
	try("no request id", err)
	_, _, err = tokens.CreateUser(t.Context(), request("r"), "", nil, 0)
	try("no user", err)
	_, _, err = tokens.CreateUser(t.Context(), request("r"), "ann", many, 0)
	try("many groups", err)
	_, _, err = tokens.CreateUser(t.Context(), request("r"), "ann", nil, -1)
	try("negative life", err)
	_, _, err = tokens.CreateJoin(t.Context(), request("r"), "", nil, 0, 1)
	try("no pool", err)
	_, _, err = tokens.CreateJoin(t.Context(), request("r"), "p", []string{"a\n"}, 0, 1)
	try("bad label", err)
	_, _, err = tokens.CreateJoin(t.Context(), request("r"), "p", nil, 0, 1<<31)
	try("many uses", err)
}

func newPub(t *testing.T) *ecdsa.PublicKey {
	t.Helper()
	key, _, err := tlsutil.NewKey()
	if err != nil {
		t.Fatal(err)
	}
	return &key.PublicKey
}

func TestJoinTokensAreSpentOnceForEachAgent(t *testing.T) {
	tokens, c := newTokens(t, memstore.New())
	token, _, err := tokens.CreateJoin(t.Context(), request("r"), "default", []string{"big"}, 0, 3)
	if err != nil {
		t.Fatal(err)
	}
	pub := newPub(t)
	first, err := tokens.Join(t.Context(), token, pub, "host")
	if err != nil || first.Pool != "default" || len(first.Labels) != 1 {
		t.Fatalf("%+v, %v", first, err)
	}
	for range 5 { // a lost answer
		if again, err := tokens.Join(t.Context(), token, pub, "host"); err != nil || again.ID != first.ID {
			t.Fatalf("a repeat: %+v, %v", again, err)
		}
	}
	ids := map[string]bool{first.ID: true}
	var mu sync.Mutex
	var wg sync.WaitGroup
	refused := 0
	for range 6 { // two uses left for six agents at once
		key := newPub(t)
		wg.Go(func() {
			a, err := tokens.Join(context.Background(), token, key, "host")
			mu.Lock()
			defer mu.Unlock()
			if rpcerr.ReasonOf(err) == rpcerr.Unauthenticated {
				refused++
			} else if err != nil {
				t.Error(err)
			} else {
				ids[a.ID] = true
			}
		})
	}
	wg.Wait()
	if len(ids) != 3 || refused != 4 {
		t.Fatalf("%d agents, %d refused, want 3 and 4", len(ids), refused)
	}
	if err := tokens.Known(t.Context(), first.ID); err != nil {
		t.Error(err)
	}
	if err := tokens.Known(t.Context(), "stranger"); rpcerr.ReasonOf(err) != rpcerr.PermissionDenied {
		t.Error(err)
	}
	c.Advance(2 * time.Hour)
	if _, err := tokens.Join(t.Context(), token, newPub(t), "late"); rpcerr.ReasonOf(err) != rpcerr.Unauthenticated {
		t.Errorf("after its end: %v", err)
	}
	user, _, err := tokens.CreateUser(t.Context(), request("r"), "ann", nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := tokens.Join(t.Context(), user, newPub(t), "host"); rpcerr.ReasonOf(err) != rpcerr.Unauthenticated {
		t.Errorf("a user's token let an agent join: %v", err)
	}
}

// TestARemovedAgentDoesNotJoinAgain: with the token and key that it had, it is still the agent that was removed, and spends nothing.
func TestARemovedAgentDoesNotJoinAgain(t *testing.T) {
	s := memstore.New()
	tokens, _ := newTokens(t, s)
	token, _, err := tokens.CreateJoin(t.Context(), request("r"), "default", nil, 0, 2)
	if err != nil {
		t.Fatal(err)
	}
	pub := newPub(t)
	a, err := tokens.Join(t.Context(), token, pub, "host")
	if err != nil {
		t.Fatal(err)
	}
	// What a removal leaves in the store.
	if _, err := s.Commit(t.Context(), store.Txn{Branches: []store.Branch{{Ops: []store.Op{
		{Key: identity.RemovedPrefix + a.ID, Value: []byte("x")}, {Key: identity.AgentPrefix + a.ID, Delete: true},
	}}}}); err != nil {
		t.Fatal(err)
	}
	if again, err := tokens.Join(t.Context(), token, pub, "host"); rpcerr.ReasonOf(err) != rpcerr.AgentRemoved {
		t.Errorf("it joined again: %+v, %v", again, err)
	}
	if _, err := tokens.Join(t.Context(), token, newPub(t), "other"); err != nil {
		t.Errorf("another host: %v", err)
	}
}

// flaky answers ErrUnknown once after a commit that did happen.
type flaky struct {
	store.Store
	left int
}

func (f *flaky) Commit(ctx context.Context, txn store.Txn) (store.TxnResult, error) {
	res, err := f.Store.Commit(ctx, txn)
	if f.left > 0 {
		f.left--
		return store.TxnResult{}, store.ErrUnknown
	}
	return res, err
}

func TestUnknownOutcomesAreSettled(t *testing.T) {
	f := &flaky{Store: memstore.New()}
	tokens, _ := newTokens(t, f)
	f.left = 1
	token, _, err := tokens.CreateJoin(t.Context(), request("r"), "default", nil, 0, 1)
	if err != nil {
		t.Fatal(err)
	}
	f.left = 1
	if _, err := tokens.Join(t.Context(), token, newPub(t), "host"); err != nil {
		t.Fatalf("the only use was lost to an unknown outcome: %v", err)
	}
}

func TestEnsureFile(t *testing.T) {
	s := memstore.New()
	tokens, _ := newTokens(t, s)
	path := filepath.Join(t.TempDir(), "admin.token")
	read := func() string {
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		return string(data)
	}
	if err := tokens.EnsureFile(t.Context(), path, "local", []string{identity.Admins}, "r1"); err != nil {
		t.Fatal(err)
	}
	first := read()
	if p, err := tokens.Authenticate(t.Context(), strings.TrimSpace(first)); err != nil || !p.In(identity.Admins) {
		t.Fatal(p, err)
	}
	if info, _ := os.Stat(path); info.Mode().Perm() != 0o600 {
		t.Fatalf("mode %v", info.Mode())
	}
	if err := tokens.EnsureFile(t.Context(), path, "local", nil, "r2"); err != nil || read() != first {
		t.Fatalf("a live token was replaced: %v", err)
	}
	if err := os.WriteFile(path, []byte("stale\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := tokens.EnsureFile(t.Context(), path, "local", []string{identity.Admins}, "r3"); err != nil || read() == "stale\n" {
		t.Fatalf("a dead token was kept: %v", err)
	}
}
