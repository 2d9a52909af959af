package testbed

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"reflect"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
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

// DenyPatch makes each patch of an object of a kind fail with *err while it is not nil. A name other than "" restricts
// that to objects whose name contains it. Patches of a status pass.
func DenyPatch(kind, name string, err *error) interceptor.Funcs {
	return interceptor.Funcs{Patch: func(
		ctx context.Context, c client.WithWatch, o client.Object, p client.Patch, opts ...client.PatchOption,
	) error {
		if *err != nil && reflect.TypeOf(o).Elem().Name() == kind && strings.Contains(o.GetName(), name) {
			return *err
		}
		return c.Patch(ctx, o, p, opts...)
	}}
}

// Deny makes each creation and each application of an object of a kind fail with *err while it is not nil. A name other
// than "" restricts that to objects whose name contains it.
func Deny(kind, name string, err *error) interceptor.Funcs {
	denies := func(o any) bool {
		raw, _ := json.Marshal(o)
		var is struct {
			Kind     string
			Metadata struct{ Name string }
		}
		_ = json.Unmarshal(raw, &is)
		if is.Kind == "" {
			is.Kind = reflect.TypeOf(o).Elem().Name()
		}
		return *err != nil && is.Kind == kind && strings.Contains(is.Metadata.Name, name)
	}
	return interceptor.Funcs{
		Create: func(ctx context.Context, c client.WithWatch, o client.Object, opts ...client.CreateOption) error {
			if denies(o) {
				return *err
			}
			return c.Create(ctx, o, opts...)
		},
		Apply: func(
			ctx context.Context, c client.WithWatch, o runtime.ApplyConfiguration, opts ...client.ApplyOption,
		) error {
			if denies(o) {
				return *err
			}
			return c.Apply(ctx, o, opts...)
		},
	}
}

// DenyEach denies each creation of an object of a kind in other words, and counts the creations in tried.
func DenyEach(kind string, tried *int) interceptor.Funcs {
	return interceptor.Funcs{Create: func(
		ctx context.Context, c client.WithWatch, o client.Object, opts ...client.CreateOption,
	) error {
		if reflect.TypeOf(o).Elem().Name() != kind {
			return c.Create(ctx, o, opts...)
		}
		*tried++
		return &apierrors.StatusError{ErrStatus: metav1.Status{
			Status: metav1.StatusFailure, Code: http.StatusForbidden, Reason: metav1.StatusReasonForbidden,
			Message: fmt.Sprintf("exceeded quota: all, used: %d", *tried),
		}}
	}}
}

// Denied returns how the API server answers with a code if an admission webhook denies a request, or if it can't call
// the webhook, which is code 500.
func Denied(code int32) error {
	said := `admission webhook "rules.example.com" denied the request: not here`
	reason := metav1.StatusReasonUnknown
	switch code {
	case http.StatusInternalServerError:
		return apierrors.NewInternalError(errors.New(`failed calling webhook "rules.example.com": connection refused`))
	case http.StatusForbidden:
		reason = metav1.StatusReasonForbidden
	}
	return &apierrors.StatusError{ErrStatus: metav1.Status{
		Status: metav1.StatusFailure, Code: code, Reason: reason, Message: said,
	}}
}
