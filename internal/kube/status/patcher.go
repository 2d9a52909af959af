package status

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"

	"github.com/fluxcd/pkg/runtime/conditions"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// Patcher writes the changes of an object. It sends the whole status in one request: a reader who waits for Ready must
// not find an outdated phase beside it, as happens with Flux's patcher, which writes the conditions before the rest.
// Conditions and fields of other writers stay as they are, but not finalizers that others add at the same time.
type Patcher struct {
	writer Writer
	before conditions.Setter
	logged conditions.Setter // the last status that was written, which before is not if the rest then failed
	// version is the resource version over which an exclusive Patcher writes.
	version   string
	exclusive bool
}

// NewPatcher returns a Patcher that compares with the present state of the object.
func (w Writer) NewPatcher(object conditions.Setter) *Patcher {
	return &Patcher{writer: w, before: copyOf(object), logged: copyOf(object)}
}

// Exclusive makes each Patch fail with a conflict if another writer has changed the object since NewPatcher, also in
// parts that the Patcher does not write: for a status of which an outdated copy must not come back.
func (p *Patcher) Exclusive() *Patcher {
	p.exclusive, p.version = true, p.before.GetResourceVersion()
	return p
}

// Version returns the resource version that the object has if nobody but an exclusive Patcher has written to it.
func (p *Patcher) Version() string { return p.version }

// Patch writes what has changed since the last successful Patch: first the status, then metadata and spec. It
// overwrites the conditions in owned whatever other writers did to them. For any other condition, a change by another
// writer in the meantime is an error.
func (p *Patcher) Patch(ctx context.Context, object conditions.Setter, owned ...string) error {
	changes, err := p.changes(object)
	if err != nil {
		return err
	}
	status := fields{}
	if raw, ok := changes["status"]; ok {
		if err := json.Unmarshal(raw, &status); err != nil {
			return fmt.Errorf("read the changes of %s: %w", object.GetName(), err)
		}
		delete(changes, "status")
	}
	err = p.patchStatus(ctx, object, status, owned)
	if err == nil { // also if the rest fails: the next reconcile finds the status as it is now
		p.writer.logTransition(ctx, p.logged, object)
		p.logged = copyOf(object)
	}
	if len(changes) > 0 {
		err = errors.Join(err, p.patchRest(ctx, object, changes))
	}
	if err != nil {
		return err
	}
	p.before = copyOf(object)
	return nil
}

func (p *Patcher) owner() client.FieldOwner { return client.FieldOwner(p.writer.Owner) }

// fields is a merge patch. Values stay as they were encoded: a number can be too large for a float.
type fields map[string]json.RawMessage

// changes returns a merge patch of everything but the conditions.
func (p *Patcher) changes(object conditions.Setter) (fields, error) {
	before, after := copyOf(p.before), copyOf(object)
	before.SetConditions(nil)
	after.SetConditions(nil)
	data, err := client.MergeFrom(before).Data(after)
	if err != nil {
		return nil, fmt.Errorf("compare %s with what it was: %w", object.GetName(), err)
	}
	changes := fields{}
	if err := json.Unmarshal(data, &changes); err != nil {
		return nil, fmt.Errorf("read the changes of %s: %w", object.GetName(), err)
	}
	return changes, nil
}

// patchStatus sends the changes of the status. The conditions form one list of which other writers own parts: the
// changes are merged into the newest list, and written only over that one.
func (p *Patcher) patchStatus(
	ctx context.Context, object conditions.Setter, status fields, owned []string,
) error {
	diff := conditions.NewPatch(p.before, object)
	if diff.IsZero() && len(status) == 0 {
		return nil
	}
	send := func(into conditions.Setter, metadata map[string]string) error {
		patch, err := mergePatch(map[string]any{"metadata": metadata, "status": status})
		if err != nil {
			return err
		}
		if err := p.writer.Client.Status().Patch(ctx, into, patch, p.owner()); err != nil {
			return err
		}
		p.version = into.GetResourceVersion()
		return nil
	}
	switch {
	case p.exclusive && !diff.IsZero():
		all, err := json.Marshal(object.GetConditions())
		if err != nil {
			return fmt.Errorf("encode the conditions of %s: %w", object.GetName(), err)
		}
		status["conditions"] = all
		fallthrough
	case p.exclusive:
		return send(copyOf(object), map[string]string{"resourceVersion": p.version})
	case diff.IsZero():
		return send(copyOf(object), map[string]string{})
	}
	return RetryConflict(ctx, func() error {
		latest := copyOf(object)
		if err := p.writer.Client.Get(ctx, client.ObjectKeyFromObject(object), latest); err != nil {
			return err
		}
		// The conditions describe the generation that was observed, even if the spec has changed since.
		latest.SetGeneration(object.GetGeneration())
		if err := diff.Apply(latest, conditions.WithOwnedConditions(owned...)); err != nil {
			return err
		}
		merged, err := json.Marshal(latest.GetConditions())
		if err != nil {
			return fmt.Errorf("encode the conditions of %s: %w", object.GetName(), err)
		}
		status["conditions"] = merged
		return send(latest, map[string]string{"resourceVersion": latest.GetResourceVersion()})
	})
}

// patchRest sends the changes of metadata and spec.
func (p *Patcher) patchRest(
	ctx context.Context, object conditions.Setter, changes fields,
) error {
	if p.exclusive {
		metadata := fields{}
		if raw, ok := changes["metadata"]; ok {
			if err := json.Unmarshal(raw, &metadata); err != nil {
				return fmt.Errorf("read the changes of %s: %w", object.GetName(), err)
			}
		}
		metadata["resourceVersion"] = json.RawMessage(strconv.Quote(p.version))
		raw, err := json.Marshal(metadata)
		if err != nil {
			return fmt.Errorf("encode changes: %w", err)
		}
		changes["metadata"] = raw
	}
	patch, err := mergePatch(changes)
	if err != nil {
		return err
	}
	into := copyOf(object)
	if err := p.writer.Client.Patch(ctx, into, patch, p.owner()); err != nil {
		return err
	}
	p.version = into.GetResourceVersion()
	return nil
}

func mergePatch(changes any) (client.Patch, error) {
	data, err := json.Marshal(changes)
	if err != nil {
		return nil, fmt.Errorf("encode changes: %w", err)
	}
	return client.RawPatch(types.MergePatchType, data), nil
}

func copyOf(object conditions.Setter) conditions.Setter {
	return object.DeepCopyObject().(conditions.Setter)
}
