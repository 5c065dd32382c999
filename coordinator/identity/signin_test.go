package identity_test

import (
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/slipway-ci/slipway/coordinator/identity"
	"github.com/slipway-ci/slipway/coordinator/store/memstore"
	"github.com/slipway-ci/slipway/internal/rpcerr"
)

// asAnn is a request of a user with a token that holds for ttl.
func asAnn(t *testing.T, tokens *identity.Tokens, id string, ttl time.Duration) identity.Request {
	t.Helper()
	token, _, err := tokens.CreateUser(t.Context(), request("ann-"+ttl.String()), "ann", []string{"dev"}, ttl)
	if err != nil {
		t.Fatal(err)
	}
	p, err := tokens.Authenticate(t.Context(), token)
	if err != nil {
		t.Fatal(err)
	}
	return identity.Request{ID: id, Principal: p}
}

func code(t *testing.T, tokens *identity.Tokens, r identity.Request) string {
	t.Helper()
	c, _, err := tokens.CreateSignIn(t.Context(), r)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestSignInWorksOnceAndSoon(t *testing.T) {
	s := memstore.New()
	tokens, c := newTokens(t, s)
	r := asAnn(t, tokens, "r1", 24*time.Hour*7)
	first := code(t, tokens, r)
	if code(t, tokens, r) != first {
		t.Error("a repeat made another code")
	}
	kvs, _, err := s.Range(t.Context(), "/", "0", 0)
	if err != nil {
		t.Fatal(err)
	}
	for _, kv := range kvs {
		if strings.Contains(kv.Key+string(kv.Value), first[4:]) {
			t.Error("the code itself is stored")
		}
	}
	session, expires, p, err := tokens.SignIn(t.Context(), first)
	if err != nil || p.String() != "user:ann" || !expires.Equal(now.Add(identity.SessionLife)) {
		t.Fatalf("%v until %v: %v", p, expires, err)
	}
	if p, until, err := tokens.Session(t.Context(), session); err != nil || p.Name != "ann" || !p.In("dev") || !until.Equal(expires) {
		t.Errorf("%+v until %v: %v", p, until, err)
	}
	late := code(t, tokens, asAnn(t, tokens, "r2", 24*time.Hour*7))
	c.Advance(identity.SignInLife)
	for name, bad := range map[string]string{"spent": first, "late": late, "none": "", "a user's token": "slu_x"} {
		if _, _, _, err := tokens.SignIn(t.Context(), bad); rpcerr.ReasonOf(err) != rpcerr.Unauthenticated {
			t.Errorf("%s: %v", name, err)
		}
	}
	// What nobody used does not stay in the store.
	code(t, tokens, asAnn(t, tokens, "r3", 24*time.Hour*7))
	if kvs, _, err := s.Range(t.Context(), identity.SignInPrefix, identity.SignInPrefix+"~", 0); err != nil || len(kvs) != 1 {
		t.Errorf("%d codes in the store: %v", len(kvs), err)
	}
}

func TestOneOfManySignsIn(t *testing.T) {
	tokens, _ := newTokens(t, memstore.New())
	c := code(t, tokens, asAnn(t, tokens, "r1", time.Hour))
	var mu sync.Mutex
	var group sync.WaitGroup
	in := 0
	for range 8 {
		group.Go(func() {
			if _, _, _, err := tokens.SignIn(t.Context(), c); err == nil {
				mu.Lock()
				defer mu.Unlock()
				in++
			} else if rpcerr.ReasonOf(err) != rpcerr.Unauthenticated {
				t.Error(err)
			}
		})
	}
	group.Wait()
	if in != 1 {
		t.Errorf("%d were signed in", in)
	}
}

func TestSessionEnds(t *testing.T) {
	tokens, c := newTokens(t, memstore.New())
	// A session of a token that ends sooner ends with it.
	session, expires, _, err := tokens.SignIn(t.Context(), code(t, tokens, asAnn(t, tokens, "r1", time.Hour)))
	if err != nil || !expires.Equal(now.Add(time.Hour)) {
		t.Fatal(expires, err)
	}
	for i := range session {
		other := session[:i] + string(rune('A'+(session[i]+1)%26)) + session[i+1:]
		if other == session {
			continue
		}
		// The last character has bits that mean nothing.
		if p, _, err := tokens.Session(t.Context(), other); i < len(session)-1 && err == nil {
			t.Fatalf("changed at %d it is a session of %v", i, p)
		}
	}
	for _, bad := range []string{"", "x", session + "AAAA", strings.Repeat("A", len(session))} {
		if _, _, err := tokens.Session(t.Context(), bad); rpcerr.ReasonOf(err) != rpcerr.Unauthenticated {
			t.Errorf("%q: %v", bad, err)
		}
	}
	c.Advance(time.Hour)
	if _, _, err := tokens.Session(t.Context(), session); rpcerr.ReasonOf(err) != rpcerr.Unauthenticated {
		t.Errorf("after its end: %v", err)
	}
	// Of another coordinator, with a key of its own, it is none.
	other, _ := newTokens(t, memstore.New())
	if _, _, err := other.Session(t.Context(), session); rpcerr.ReasonOf(err) != rpcerr.Unauthenticated {
		t.Errorf("elsewhere: %v", err)
	}
}

func TestSignInIsForUsers(t *testing.T) {
	tokens, _ := newTokens(t, memstore.New())
	for _, p := range []identity.Principal{{}, {Kind: identity.Agent, Name: "a", Token: "x"}, {Kind: identity.User, Name: "ann"}} {
		if _, _, err := tokens.CreateSignIn(t.Context(), identity.Request{ID: "r", Principal: p}); rpcerr.ReasonOf(err) != rpcerr.InvalidRequest {
			t.Errorf("%v: %v", p, err)
		}
	}
	r := asAnn(t, tokens, "r", time.Hour)
	for i := range identity.MaxSignIns {
		r.ID = "r" + time.Duration(i).String()
		code(t, tokens, r)
	}
	r.ID = "one more"
	if _, _, err := tokens.CreateSignIn(t.Context(), r); rpcerr.ReasonOf(err) != rpcerr.Busy {
		t.Errorf("more than there may be: %v", err)
	}
}
