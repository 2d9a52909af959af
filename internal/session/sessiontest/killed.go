package sessiontest

import (
	"context"
	"errors"

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
		SubResourcePatch: func(ctx context.Context, c client.Client, sub string, obj client.Object, patch client.Patch, opts ...client.SubResourcePatchOption) error {
			return k.write(func() error { return c.SubResource(sub).Patch(ctx, obj, patch, opts...) })
		},
	})
}
