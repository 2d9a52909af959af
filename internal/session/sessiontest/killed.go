package sessiontest

import (
	"context"
	"errors"
	"fmt"

	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"
)

// ErrKilled is what every request of a killed manager ends with.
var ErrKilled = errors.New("the manager was killed")

// Killer counts the writes of a client and kills its user at one of them.
type Killer struct {
	// At is the number of the write, from 1. Zero: never.
	At int
	// Written says whether that write reaches the API server: then only its answer is lost.
	Written bool

	count int
	dead  bool
}

// Kills are the managers that are killed in a work of so many writes: one before the first write, and one after each, which
// does not learn that it was written. One that is killed before a later write needs no case of its own: it knows nothing
// that is not in the API server, and there all is as it was after the write before.
func Kills(writes int) map[string]*Killer {
	out := map[string]*Killer{"before the first write": {At: 1}}
	for n := 1; n <= writes; n++ {
		out[fmt.Sprintf("after write %d of %d", n, writes)] = &Killer{At: n, Written: true}
	}
	return out
}

// Count of the writes so far.
func (k *Killer) Count() int { return k.count }

// Dead says whether the user was killed.
func (k *Killer) Dead() bool { return k.dead }

// write does one write, unless its user is killed.
func (k *Killer) write(do func() error) error {
	if k.dead {
		return ErrKilled
	}
	k.count++
	if k.count != k.At {
		return do()
	}
	k.dead = true
	if k.Written {
		_ = do()
	}
	return ErrKilled
}

// Client is c as a user sees it who may be killed.
func (k *Killer) Client(c client.WithWatch) client.WithWatch {
	return interceptor.NewClient(c, interceptor.Funcs{
		Get: func(ctx context.Context, c client.WithWatch, key client.ObjectKey, obj client.Object, opts ...client.GetOption) error {
			if k.dead {
				return ErrKilled
			}
			return c.Get(ctx, key, obj, opts...)
		},
		List: func(ctx context.Context, c client.WithWatch, list client.ObjectList, opts ...client.ListOption) error {
			if k.dead {
				return ErrKilled
			}
			return c.List(ctx, list, opts...)
		},
		Create: func(ctx context.Context, c client.WithWatch, obj client.Object, opts ...client.CreateOption) error {
			return k.write(func() error { return c.Create(ctx, obj, opts...) })
		},
		Delete: func(ctx context.Context, c client.WithWatch, obj client.Object, opts ...client.DeleteOption) error {
			return k.write(func() error { return c.Delete(ctx, obj, opts...) })
		},
		Update: func(ctx context.Context, c client.WithWatch, obj client.Object, opts ...client.UpdateOption) error {
			return k.write(func() error { return c.Update(ctx, obj, opts...) })
		},
		Patch: func(ctx context.Context, c client.WithWatch, obj client.Object, patch client.Patch, opts ...client.PatchOption) error {
			return k.write(func() error { return c.Patch(ctx, obj, patch, opts...) })
		},
		Apply: func(ctx context.Context, c client.WithWatch, obj runtime.ApplyConfiguration, opts ...client.ApplyOption) error {
			return k.write(func() error { return c.Apply(ctx, obj, opts...) })
		},
		SubResourceApply: func(ctx context.Context, c client.Client, sub string, obj runtime.ApplyConfiguration, opts ...client.SubResourceApplyOption) error {
			return k.write(func() error { return c.SubResource(sub).Apply(ctx, obj, opts...) })
		},
		SubResourceUpdate: func(ctx context.Context, c client.Client, sub string, obj client.Object, opts ...client.SubResourceUpdateOption) error {
			return k.write(func() error { return c.SubResource(sub).Update(ctx, obj, opts...) })
		},
		SubResourcePatch: func(ctx context.Context, c client.Client, sub string, obj client.Object, patch client.Patch, opts ...client.SubResourcePatchOption) error {
			return k.write(func() error { return c.SubResource(sub).Patch(ctx, obj, patch, opts...) })
		},
	})
}
