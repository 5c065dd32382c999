package identity

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/slipway-ci/slipway/coordinator/store"
	"github.com/slipway-ci/slipway/internal/clock"
	"github.com/slipway-ci/slipway/internal/rpcerr"
	"github.com/slipway-ci/slipway/internal/tlsutil"
	statev1 "github.com/slipway-ci/slipway/proto/gen/slipway/state/v1"
)

const (
	tokenPrefix = "/slipway/v1/token/"
	agentPrefix = "/slipway/v1/agent/"

	kindUser = "user"
	kindJoin = "join"

	// Limits of what a token may ask for.
	maxTTL    = 10 * 365 * 24 * time.Hour
	maxUses   = 100_000
	maxNames  = 64
	txnTries  = 64
	userTTL   = 90 * 24 * time.Hour
	joinTTL   = time.Hour
	localTTL  = 365 * 24 * time.Hour
	agentIDLn = 26
)

// Tokens makes and checks the tokens of users and of joining agents. Safe for concurrent use.
type Tokens struct {
	store store.Store
	clock clock.Clock
	pin   string
	key   []byte
	// sessions is the key of browsers' sessions.
	sessions []byte
}

// NewTokens returns the tokens that s keeps. Their secrets depend on the CA, so coordinators that share a store share its key too.
func NewTokens(ca *CA, s store.Store, c clock.Clock) (*Tokens, error) {
	key, err := ca.derive("slipway tokens v1")
	if err != nil {
		return nil, err
	}
	sessions, err := ca.derive("slipway web sessions v1")
	if err != nil {
		return nil, err
	}
	return &Tokens{store: s, clock: c, pin: ca.Pin(), key: key, sessions: sessions}, nil
}

// Request identifies a call that makes a token: a repeat by the same principal answers the same token.
type Request struct {
	ID        string
	Principal Principal
}

// CreateUser makes a token for a user in groups; ttl 0 is 90 days.
func (t *Tokens) CreateUser(ctx context.Context, r Request, user string, groups []string, ttl time.Duration) (token string, expires time.Time, err error) {
	if err := errors.Join(tlsutil.CheckName("user", user), checkNames("group", groups)); err != nil {
		return "", time.Time{}, rpcerr.New(rpcerr.InvalidRequest, "making a token: %v", err)
	}
	return t.create(ctx, tlsutil.UserToken, r, ttl, userTTL, &statev1.TokenRecord{Kind: kindUser, User: user, Groups: groups})
}

// CreateJoin makes a token with which agents join a pool; ttl 0 is an hour, uses 0 is one agent.
func (t *Tokens) CreateJoin(ctx context.Context, r Request, pool string, labels []string, ttl time.Duration, uses uint32) (token string, expires time.Time, err error) {
	if err := errors.Join(tlsutil.CheckName("pool", pool), checkNames("label", labels)); err != nil {
		return "", time.Time{}, rpcerr.New(rpcerr.InvalidRequest, "making a join token: %v", err)
	}
	if uses > maxUses {
		return "", time.Time{}, rpcerr.New(rpcerr.InvalidRequest, "a join token for %d agents: at most %d are allowed", uses, maxUses)
	}
	return t.create(ctx, tlsutil.JoinToken, r, ttl, joinTTL, &statev1.TokenRecord{Kind: kindJoin, Pool: pool, Labels: labels, UsesLeft: max(uses, 1)})
}

func checkNames(kind string, names []string) error {
	if len(names) > maxNames {
		return fmt.Errorf("%d names of kind %s: at most %d are allowed", len(names), kind, maxNames)
	}
	var errs []error
	for _, n := range names {
		errs = append(errs, tlsutil.CheckName(kind, n))
	}
	return errors.Join(errs...)
}

func (t *Tokens) create(ctx context.Context, prefix string, r Request, ttl, normal time.Duration, rec *statev1.TokenRecord) (string, time.Time, error) {
	if r.ID == "" {
		return "", time.Time{}, rpcerr.New(rpcerr.InvalidRequest, "making a token: request_id is empty; send a fresh ULID, and the same one when you repeat the call")
	}
	if ttl < 0 || ttl > maxTTL {
		return "", time.Time{}, rpcerr.New(rpcerr.InvalidRequest, "making a token: a life of %v is not between 0 and %v", ttl, maxTTL)
	}
	if ttl == 0 {
		ttl = normal
	}
	token := tlsutil.FormatToken(prefix, t.secret(prefix, r, rec, ttl), t.pin)
	rec.ExpiresMs = t.clock.Now().Add(ttl).UnixMilli()
	key := tokenPrefix + tlsutil.HashToken(token)
	kv, found, err := t.store.Get(ctx, key)
	if err != nil {
		return "", time.Time{}, unavailable(err)
	}
	if found { // the first call's answer, with its expiry
		if err := proto.Unmarshal(kv.Value, rec); err != nil {
			return "", time.Time{}, damaged(key, err)
		}
	} else if err := t.put(ctx, key, rec); err != nil {
		return "", time.Time{}, err
	}
	return token, time.UnixMilli(rec.GetExpiresMs()), nil
}

// secret depends on who asks, which request it is and all of what is asked for, so that a request id that another call used can't
// hand out the other's token.
func (t *Tokens) secret(prefix string, r Request, rec *statev1.TokenRecord, ttl time.Duration) [32]byte {
	mac := hmac.New(sha256.New, t.key)
	field := func(s string) {
		var n [8]byte
		binary.BigEndian.PutUint64(n[:], uint64(len(s)))
		mac.Write(n[:])
		mac.Write([]byte(s))
	}
	list := func(l []string) {
		field(fmt.Sprint(len(l)))
		for _, s := range l {
			field(s)
		}
	}
	for _, s := range []string{prefix, r.Principal.String(), r.ID, rec.GetUser(), rec.GetPool(), ttl.String(), fmt.Sprint(rec.GetUsesLeft())} {
		field(s)
	}
	list(rec.GetGroups())
	list(rec.GetLabels())
	return [32]byte(mac.Sum(nil))
}

// put creates a key. Two equal calls at once may both do it: they write the same token.
func (t *Tokens) put(ctx context.Context, key string, rec *statev1.TokenRecord) error {
	value, err := proto.Marshal(rec)
	if err != nil {
		return fmt.Errorf("encoding a token's record: %w", err)
	}
	txn := store.Txn{Branches: []store.Branch{{Compares: []store.Compare{{Key: key}}, Ops: []store.Op{{Key: key, Value: value}}}}}
	for range txnTries {
		_, err = t.store.Commit(ctx, txn)
		if !errors.Is(err, store.ErrUnknown) {
			break
		}
	}
	if err != nil {
		return unavailable(err)
	}
	return nil
}

// Authenticate returns the user whose token it is.
func (t *Tokens) Authenticate(ctx context.Context, token string) (Principal, error) {
	hash := tlsutil.HashToken(token)
	rec, _, err := t.lookupHash(ctx, kindUser, hash)
	if err != nil {
		return Principal{}, err
	}
	return userOf(rec, hash), nil
}

func userOf(rec *statev1.TokenRecord, hash string) Principal {
	return Principal{Kind: User, Name: rec.GetUser(), Groups: rec.GetGroups(), Token: hash, Expires: time.UnixMilli(rec.GetExpiresMs())}
}

// lookup returns a live token's record.
func (t *Tokens) lookup(ctx context.Context, kind, token string) (*statev1.TokenRecord, store.KV, error) {
	return t.lookupHash(ctx, kind, tlsutil.HashToken(token))
}

// lookupHash is lookup for who has the token's hash only.
func (t *Tokens) lookupHash(ctx context.Context, kind, hash string) (*statev1.TokenRecord, store.KV, error) {
	key := tokenPrefix + hash
	kv, found, err := t.store.Get(ctx, key)
	if err != nil {
		return nil, kv, unavailable(err)
	}
	rec := &statev1.TokenRecord{}
	if found {
		if err := proto.Unmarshal(kv.Value, rec); err != nil {
			return nil, kv, damaged(key, err)
		}
	}
	switch {
	case !found || rec.GetKind() != kind:
		return nil, kv, rpcerr.New(rpcerr.Unauthenticated, "this coordinator knows no such %s token; ask an administrator for a new one", kind)
	case t.clock.Now().UnixMilli() >= rec.GetExpiresMs():
		return nil, kv, rpcerr.New(rpcerr.Unauthenticated, "the %s token ended on %s; ask an administrator for a new one", kind, time.UnixMilli(rec.GetExpiresMs()).UTC().Format(time.RFC3339))
	}
	return rec, kv, nil
}

func unavailable(err error) error {
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	return rpcerr.New(rpcerr.StoreUnavailable, "the coordinator's store can't be reached now (%v); try again", err)
}

func damaged(key string, err error) error {
	return rpcerr.New(rpcerr.Internal, "the record at %s can't be read: %v", key, err)
}

// EnsureFile makes sure that the file at path holds a live token of the user, readable by its owner only. For the coordinator's own host:
// whoever can read its data directory is its administrator.
func (t *Tokens) EnsureFile(ctx context.Context, path, user string, groups []string, requestID string) error {
	data, err := readSecret(path)
	if err == nil {
		if _, err := t.Authenticate(ctx, strings.TrimSpace(string(data))); err == nil {
			return nil
		} else if rpcerr.ReasonOf(err) != rpcerr.Unauthenticated {
			return err
		}
	} else if !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	token, _, err := t.CreateUser(ctx, Request{ID: requestID}, user, groups, localTTL)
	if err != nil {
		return err
	}
	return writeFile(path, []byte(token+"\n"), 0o600)
}
