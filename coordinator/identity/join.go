package identity

import (
	"context"
	"crypto/ecdsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base32"
	"errors"
	"fmt"
	"strings"

	"google.golang.org/protobuf/proto"

	"github.com/slipway-ci/slipway/coordinator/store"
	"github.com/slipway-ci/slipway/internal/rpcerr"
	"github.com/slipway-ci/slipway/internal/tlsutil"
	statev1 "github.com/slipway-ci/slipway/proto/gen/slipway/state/v1"
)

// Join spends one use of a join token on the holder of pub and returns the agent that it is from now on. A repeat with the same token
// and key, after a lost answer, returns the same agent and spends nothing.
func (t *Tokens) Join(ctx context.Context, token string, pub *ecdsa.PublicKey, hostname string) (tlsutil.AgentIdentity, error) {
	var none tlsutil.AgentIdentity
	id, err := agentID(token, pub)
	if err != nil {
		return none, err
	}
	for range txnTries {
		if err := notRemoved(ctx, t.store, id); err != nil {
			return none, err
		}
		agent, found, err := t.agent(ctx, id)
		if err != nil || found {
			return agent, err
		}
		rec, kv, err := t.lookup(ctx, kindJoin, token)
		if err != nil {
			return none, err
		}
		if rec.GetUsesLeft() == 0 {
			return none, rpcerr.New(rpcerr.Unauthenticated, "the join token has been used by as many agents as it was made for; make another with `slipway agents join-token`")
		}
		res, err := t.spend(ctx, id, hostname, rec, kv)
		switch {
		case errors.Is(err, store.ErrUnknown): // look again whether it happened
		case err != nil:
			return none, unavailable(err)
		case res.Branches[0]:
			return tlsutil.AgentIdentity{ID: id, Pool: rec.GetPool(), Labels: rec.GetLabels()}, nil
		}
	}
	return none, rpcerr.New(rpcerr.Busy, "many agents are joining with this token at once; try again")
}

// spend takes one use and records the agent, in one transaction.
func (t *Tokens) spend(ctx context.Context, id, hostname string, rec *statev1.TokenRecord, kv store.KV) (store.TxnResult, error) {
	rec.UsesLeft--
	token, err := proto.Marshal(rec)
	if err != nil {
		return store.TxnResult{}, fmt.Errorf("encoding a token's record: %w", err)
	}
	agent, err := proto.Marshal(&statev1.AgentRecord{Id: id, Hostname: hostname, Pool: rec.GetPool(), Labels: rec.GetLabels(), JoinedMs: t.clock.Now().UnixMilli()})
	if err != nil {
		return store.TxnResult{}, fmt.Errorf("encoding an agent's record: %w", err)
	}
	return t.store.Commit(ctx, store.Txn{Branches: []store.Branch{{
		Compares: []store.Compare{{Key: kv.Key, Revision: kv.ModRevision}, {Key: agentPrefix + id}, {Key: removedPrefix + id}},
		Ops:      []store.Op{{Key: kv.Key, Value: token}, {Key: agentPrefix + id, Value: agent}},
	}}})
}

// Known fails unless the agent has joined and was not removed since.
func (t *Tokens) Known(ctx context.Context, id string) error {
	_, found, err := t.agent(ctx, id)
	if err == nil && !found {
		err = rpcerr.New(rpcerr.PermissionDenied, "agent %s is not one of this coordinator's (any more); let it join again with a new token", id)
	}
	return err
}

func (t *Tokens) agent(ctx context.Context, id string) (a tlsutil.AgentIdentity, found bool, err error) {
	kv, found, err := t.store.Get(ctx, agentPrefix+id)
	if err != nil {
		return a, false, unavailable(err)
	}
	if !found {
		return a, false, nil
	}
	rec := &statev1.AgentRecord{}
	if err := proto.Unmarshal(kv.Value, rec); err != nil {
		return a, false, damaged(kv.Key, err)
	}
	return tlsutil.AgentIdentity{ID: id, Pool: rec.GetPool(), Labels: rec.GetLabels()}, true, nil
}

// agentID is a function of the token and the agent's key, which makes Join repeatable.
func agentID(token string, pub *ecdsa.PublicKey) (string, error) {
	der, err := x509.MarshalPKIXPublicKey(pub)
	if err != nil {
		return "", rpcerr.New(rpcerr.InvalidRequest, "reading the signing request's key: %v", err)
	}
	h := sha256.New()
	h.Write([]byte(tlsutil.HashToken(token)))
	h.Write(der)
	return strings.ToLower(base32.HexEncoding.EncodeToString(h.Sum(nil)))[:agentIDLn], nil
}
