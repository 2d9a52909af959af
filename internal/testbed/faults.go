package testbed

import (
	"context"

	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"
)

// FailPatch makes each patch of an object fail with *err while it is not nil. Patches of a status pass.
func FailPatch(err *error) interceptor.Funcs {
	return interceptor.Funcs{Patch: func(
		ctx context.Context, c client.WithWatch, o client.Object, p client.Patch, opts ...client.PatchOption,
	) error {
		if *err != nil {
			return *err
		}
		return c.Patch(ctx, o, p, opts...)
	}}
}
