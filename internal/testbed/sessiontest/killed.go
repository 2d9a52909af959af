package sessiontest

import (
	"context"
	"errors"
	"fmt"

	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"
)

// ErrKilled is the error of every request of a killed manager.
var ErrKilled = errors.New("the manager was killed")

// Killer counts the writes of a client, and kills its user at one of them.
type Killer struct {
	// At is the number of that write, from 1. Zero means never.
	At int
	// Written means that the write reaches the API server and only its answer is lost.
	Written bool

	count int
	dead  bool
}

// KillPoints returns a Killer for each point at which a manager with so many writes can be killed: before the first
// write, and after each write, whose success it does not learn. Being killed before a later write needs no case of its
// own. The manager knows nothing that is not in the API server, and there everything is as it was after the previous
// write.
func KillPoints(writes int) map[string]*Killer {
	out := map[string]*Killer{"before the first write": {At: 1}}
	for n := 1; n <= writes; n++ {
		out[fmt.Sprintf("after write %d of %d", n, writes)] = &Killer{At: n, Written: true}
	}
	return out
}

// Count returns the number of writes so far.
func (k *Killer) Count() int { return k.count }

// Dead reports whether the user was killed.
func (k *Killer) Dead() bool { return k.dead }

// write does one write, unless the user is killed.
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

// Client wraps c for a user that can be killed.
func (k *Killer) Client(c client.WithWatch) client.WithWatch {
	return interceptor.NewClient(c, interceptor.Funcs{
		Get: func(ctx context.Context, c client.WithWatch, key client.ObjectKey, obj client.Object,
			opts ...client.GetOption,
		) error {
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
		Patch: func(ctx context.Context, c client.WithWatch, obj client.Object, patch client.Patch,
			opts ...client.PatchOption,
		) error {
			return k.write(func() error { return c.Patch(ctx, obj, patch, opts...) })
		},
		Apply: func(ctx context.Context, c client.WithWatch, obj runtime.ApplyConfiguration,
			opts ...client.ApplyOption,
		) error {
			return k.write(func() error { return c.Apply(ctx, obj, opts...) })
		},
		SubResourceApply: func(ctx context.Context, c client.Client, sub string, obj runtime.ApplyConfiguration,
			opts ...client.SubResourceApplyOption,
		) error {
			return k.write(func() error { return c.SubResource(sub).Apply(ctx, obj, opts...) })
		},
		SubResourceUpdate: func(ctx context.Context, c client.Client, sub string, obj client.Object,
			opts ...client.SubResourceUpdateOption,
		) error {
			return k.write(func() error { return c.SubResource(sub).Update(ctx, obj, opts...) })
		},
		SubResourcePatch: func(ctx context.Context, c client.Client, sub string, obj client.Object, patch client.Patch,
			opts ...client.SubResourcePatchOption,
		) error {
			return k.write(func() error { return c.SubResource(sub).Patch(ctx, obj, patch, opts...) })
		},
	})
}
