package engine

import (
	"context"
	"fmt"
	"strings"

	"github.com/slipway-ci/slipway/coordinator/lifecycle"
	"github.com/slipway-ci/slipway/coordinator/store"
	statev1 "github.com/slipway-ci/slipway/proto/gen/slipway/state/v1"
)

// What a sealer needs to know of the records of ended runs. The engine never touches those: a sealer takes them away under the leader's fence.

// EndedRun is a run of the store that has ended.
type EndedRun struct {
	Header     *statev1.RunHeader
	Definition *statev1.RunDefinition
	Jobs       []*statev1.JobRecord
	// Revision of the header.
	Revision int64
}

// ReadEnded reads a run; nil if there is none, or it has not ended.
func ReadEnded(ctx context.Context, s store.Store, runID string) (*EndedRun, error) {
	rr, err := readRun(ctx, s, runID)
	if err != nil || rr == nil || !lifecycle.Run.IsTerminal(rr.header.GetState()) {
		return nil, err
	}
	out := &EndedRun{Header: rr.header, Definition: rr.def, Revision: rr.headerRev}
	for _, j := range rr.jobs {
		out.Jobs = append(out.Jobs, j.rec)
	}
	return out, nil
}

// Unchanged holds while the run is as it was read.
func (r *EndedRun) Unchanged() store.Compare {
	return store.Compare{Key: runKey(r.Header.GetId()), Revision: r.Revision}
}

// Removal takes the run out of the store. What its request id returned stays.
func (r *EndedRun) Removal() []store.Op {
	runID := r.Header.GetId()
	jobs := jobsPrefix(runID)
	return []store.Op{{Key: runKey(runID), Delete: true}, {Key: defKey(runID), Delete: true}, {Key: jobs, To: store.PrefixEnd(jobs), Delete: true},
		{Key: newestKey(runID), Delete: true}, {Key: nameKey(r.Definition, r.Header.GetNumber()), Delete: true}}
}

// EachRun calls f for the header of every run in the store, oldest first. It reads in pages.
func EachRun(ctx context.Context, s store.Store, f func(*statev1.RunHeader) error) error {
	const page = 500
	for from := runPrefix; ; {
		kvs, more, err := s.Range(ctx, from, store.PrefixEnd(runPrefix), page)
		if err != nil {
			return storeError(err)
		}
		for _, kv := range kvs {
			header := &statev1.RunHeader{}
			if err := decode(kv, header); err != nil {
				return err
			}
			if err := f(header); err != nil {
				return err
			}
			from = kv.Key + "\x00"
		}
		if !more {
			return nil
		}
	}
}

// Ended says whether a run is over.
func Ended(h *statev1.RunHeader) bool { return lifecycle.Run.IsTerminal(h.GetState()) }

// DefinitionOf reads the definition of a run in the store; nil if there is none.
func DefinitionOf(ctx context.Context, s store.Store, runID string) (*statev1.RunDefinition, error) {
	kv, found, err := s.Get(ctx, defKey(runID))
	if err != nil || !found {
		return nil, storeError(err)
	}
	def := &statev1.RunDefinition{}
	return def, decode(kv, def)
}

// Chain is the head of a project's chain of sealed runs, as it is in the store.
type Chain struct {
	Head     *statev1.ChainHead
	Revision int64
}

// ChainKey is where the head of a project's chain is.
func ChainKey(project string) string {
	return chainPrefix + strings.TrimSuffix(strings.TrimPrefix(numProject(project), numPrefix), "/")
}

// Chains reads the heads of all chains, by project.
func Chains(ctx context.Context, s store.Store) (map[string]Chain, error) {
	kvs, _, err := s.Range(ctx, chainPrefix, store.PrefixEnd(chainPrefix), 0)
	if err != nil {
		return nil, storeError(err)
	}
	out := map[string]Chain{}
	for _, kv := range kvs {
		head := &statev1.ChainHead{}
		if err := decode(kv, head); err != nil {
			return nil, err
		}
		if kv.Key != ChainKey(head.GetProject()) {
			return nil, fmt.Errorf("the record %s is the head of project %s", kv.Key, head.GetProject())
		}
		out[head.GetProject()] = Chain{Head: head, Revision: kv.ModRevision}
	}
	return out, nil
}

// BlobsOf are the digests of the blobs that a run in the store needs.
func BlobsOf(h *statev1.RunHeader, def *statev1.RunDefinition) []string {
	var out []string
	for _, digest := range []string{def.GetPlanDigest(), def.GetSource().GetTree()} {
		if digest != "" {
			out = append(out, digest)
		}
	}
	for _, a := range h.GetArtifacts() {
		out = append(out, a.GetDigest())
	}
	return out
}

// EachRequest calls f for what every request id returned: its key, and when it was made (Unix ms).
func EachRequest(ctx context.Context, s store.Store, f func(key string, createdMS int64) error) error {
	const page = 500
	for from := reqPrefix; ; {
		kvs, more, err := s.Range(ctx, from, store.PrefixEnd(reqPrefix), page)
		if err != nil {
			return storeError(err)
		}
		for _, kv := range kvs {
			rec := &statev1.RequestRecord{}
			if err := decode(kv, rec); err != nil {
				return err
			}
			if err := f(kv.Key, rec.GetCreatedMs()); err != nil {
				return err
			}
			from = kv.Key + "\x00"
		}
		if !more {
			return nil
		}
	}
}
