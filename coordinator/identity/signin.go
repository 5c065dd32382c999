package identity

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/slipway-ci/slipway/coordinator/store"
	"github.com/slipway-ci/slipway/internal/rpcerr"
	"github.com/slipway-ci/slipway/internal/tlsutil"
	statev1 "github.com/slipway-ci/slipway/proto/gen/slipway/state/v1"
)

// A browser signs in with a code that its user's token made: once, and soon. What it gets for it is a session that no coordinator keeps: the
// hash of that token and an end, under a MAC. So it holds at every coordinator, and no longer than the token does.
const (
	signInPrefix = "/slipway/v1/signin/"
	kindSignIn   = "sign-in"
	codePrefix   = "slw"

	// SignInLife is how long a code may be used.
	SignInLife = 2 * time.Minute
	// SessionLife is how long a browser stays signed in.
	SessionLife = 12 * time.Hour
	// maxSignIns is how many codes there are at once: each is a record in the store.
	maxSignIns = 200
)

// CreateSignIn makes a code with which a browser signs in as the user whose token made the call. A repeat answers the same code.
func (t *Tokens) CreateSignIn(ctx context.Context, r Request) (code string, expires time.Time, err error) {
	if r.ID == "" || r.Principal.Kind != User || r.Principal.Token == "" {
		return "", time.Time{}, rpcerr.New(rpcerr.InvalidRequest, "signing in needs a request_id and a user's token")
	}
	rec := &statev1.TokenRecord{Kind: kindSignIn, User: r.Principal.Name, Token: r.Principal.Token}
	code = tlsutil.FormatToken(codePrefix, t.secret(codePrefix+r.Principal.Token, r, rec, SignInLife), "")
	if err := t.sweepSignIns(ctx); err != nil {
		return "", time.Time{}, err
	}
	key := signInPrefix + tlsutil.HashToken(code)
	kv, found, err := t.store.Get(ctx, key)
	if err != nil {
		return "", time.Time{}, unavailable(err)
	}
	rec.ExpiresMs = t.clock.Now().Add(SignInLife).UnixMilli()
	if found {
		if err := proto.Unmarshal(kv.Value, rec); err != nil {
			return "", time.Time{}, damaged(key, err)
		}
	} else if err := t.put(ctx, key, rec); err != nil {
		return "", time.Time{}, err
	}
	return code, time.UnixMilli(rec.GetExpiresMs()), nil
}

// sweepSignIns removes the codes that nobody used in time; BUSY if too many are left.
func (t *Tokens) sweepSignIns(ctx context.Context) error {
	kvs, _, err := t.store.Range(ctx, signInPrefix, store.PrefixEnd(signInPrefix), 0)
	if err != nil {
		return unavailable(err)
	}
	live := 0
	now := t.clock.Now().UnixMilli()
	for _, kv := range kvs {
		rec := &statev1.TokenRecord{}
		if err := proto.Unmarshal(kv.Value, rec); err == nil && now < rec.GetExpiresMs() {
			live++
			continue
		}
		// One that is not removed now is by the next call.
		if _, err := t.store.Commit(ctx, removal(kv)); err != nil && !errors.Is(err, store.ErrUnknown) {
			return unavailable(err)
		}
	}
	if live >= maxSignIns {
		return rpcerr.BusyFor(SignInLife, "%d sign-ins wait to be used; try again in %v", live, SignInLife)
	}
	return nil
}

func removal(kv store.KV) store.Txn {
	return store.Txn{Branches: []store.Branch{{Compares: []store.Compare{{Key: kv.Key, Revision: kv.ModRevision}}, Ops: []store.Op{{Key: kv.Key, Delete: true}}}}}
}

// SignIn spends a code and returns a session for a browser, and its end. UNAUTHENTICATED if the code was spent or has ended, or its user's token has.
func (t *Tokens) SignIn(ctx context.Context, code string) (session string, expires time.Time, p Principal, err error) {
	refused := rpcerr.New(rpcerr.Unauthenticated, "this sign-in link was used already or is older than %v; make another with `slipway web`", SignInLife)
	kv, found, err := t.store.Get(ctx, signInPrefix+tlsutil.HashToken(code))
	if err != nil {
		return "", time.Time{}, p, unavailable(err)
	}
	rec := &statev1.TokenRecord{}
	if found {
		if err := proto.Unmarshal(kv.Value, rec); err != nil {
			return "", time.Time{}, p, damaged(kv.Key, err)
		}
	}
	now := t.clock.Now()
	if !found || rec.GetKind() != kindSignIn || now.UnixMilli() >= rec.GetExpiresMs() {
		return "", time.Time{}, p, refused
	}
	// Only who removed it has it. After an unknown outcome nobody can say who did: the code is refused, and its user makes another.
	res, err := t.store.Commit(ctx, removal(kv))
	if err != nil {
		return "", time.Time{}, p, unavailable(err)
	}
	if !res.Branches[0] {
		return "", time.Time{}, p, refused
	}
	p, err = t.byHash(ctx, rec.GetToken())
	if err != nil {
		return "", time.Time{}, p, err
	}
	expires = now.Add(SessionLife)
	if p.Expires.Before(expires) {
		expires = p.Expires
	}
	session, err = t.session(rec.GetToken(), expires)
	return session, expires, p, err
}

// session is the token's hash (32 bytes), the end in Unix milliseconds (8) and their MAC (32), base64url.
func (t *Tokens) session(tokenHash string, expires time.Time) (string, error) {
	hash, err := hex.DecodeString(tokenHash)
	if err != nil || len(hash) != sha256.Size {
		return "", rpcerr.New(rpcerr.Internal, "a sign-in names no token")
	}
	b := binary.BigEndian.AppendUint64(hash, uint64(expires.UnixMilli())) //nolint:gosec // after 1970
	return base64.RawURLEncoding.EncodeToString(append(b, t.seal(b)...)), nil
}

func (t *Tokens) seal(b []byte) []byte {
	mac := hmac.New(sha256.New, t.sessions)
	mac.Write(b)
	return mac.Sum(nil)
}

// Session returns whose session it is and when it ends; UNAUTHENTICATED if it is none, has ended, or its user's token has.
func (t *Tokens) Session(ctx context.Context, session string) (p Principal, expires time.Time, err error) {
	const body = sha256.Size + 8
	b, err := base64.RawURLEncoding.DecodeString(session)
	if err != nil || len(b) != body+sha256.Size || !hmac.Equal(b[body:], t.seal(b[:body])) {
		return p, expires, rpcerr.New(rpcerr.Unauthenticated, "this coordinator made no such session")
	}
	expires = time.UnixMilli(int64(binary.BigEndian.Uint64(b[sha256.Size:body]))) //nolint:gosec // it is what session wrote
	if !t.clock.Now().Before(expires) {
		return p, expires, rpcerr.New(rpcerr.Unauthenticated, "the session ended at %s", expires.UTC().Format(time.RFC3339))
	}
	p, err = t.byHash(ctx, hex.EncodeToString(b[:sha256.Size]))
	return p, expires, err
}

// byHash returns the user of a live token.
func (t *Tokens) byHash(ctx context.Context, hash string) (Principal, error) {
	rec, _, err := t.lookupHash(ctx, kindUser, hash)
	if err != nil {
		return Principal{}, fmt.Errorf("the token that signed in: %w", err)
	}
	return userOf(rec, hash), nil
}
