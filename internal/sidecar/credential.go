package sidecar

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
)

// Token holds the claims of a token for the API server. They are not verified: the token must come from the API server.
type Token struct {
	// Credential is the identity of the token, in the form of the user extra
	// authentication.kubernetes.io/credential-id: "JTI=<uuid>".
	Credential string
	// IssuedAt and Expires bound its validity.
	IssuedAt, Expires time.Time
}

// ReadToken reads the claims of a token. Its error holds no part of the token.
func ReadToken(token string) (Token, error) {
	parts := strings.Split(strings.TrimSpace(token), ".")
	if len(parts) != 3 {
		return Token{}, errors.New("read token: it is not a JSON web token")
	}
	b, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil {
		return Token{}, errors.New("read token: its claims are not valid base64")
	}
	var claims struct {
		JTI string `json:"jti"`
		IAT int64  `json:"iat"`
		EXP int64  `json:"exp"`
	}
	if err := json.Unmarshal(b, &claims); err != nil {
		return Token{}, errors.New("read token: its claims are not a JSON object")
	}
	if claims.JTI == "" || strings.ContainsAny(claims.JTI, ",= ") {
		return Token{}, errors.New("read token: it has no valid identity (jti), which needs Kubernetes 1.30 or later")
	}
	return Token{
		Credential: "JTI=" + claims.JTI, IssuedAt: time.Unix(claims.IAT, 0),
		Expires: time.Unix(claims.EXP, 0),
	}, nil
}

// maxCredentials is how many tokens of one sidecar can be valid at a time: the one in use, one that the kubelet has not
// delivered yet, and some that expire soon.
const maxCredentials = 8

// FormatCredentials returns the value of v1alpha1.AnnotationSidecarCredentials. If there are too many credentials, it
// leaves out the first, which are the oldest.
func FormatCredentials(credentials []string) (string, error) {
	for _, c := range credentials {
		if !strings.HasPrefix(c, "JTI=") || strings.Contains(c, ",") {
			return "", fmt.Errorf("format credentials: invalid credential %q", c)
		}
	}
	return strings.Join(credentials[max(len(credentials)-maxCredentials, 0):], ","), nil
}

// ParseCredentials reads the value that FormatCredentials returns.
func ParseCredentials(value string) []string {
	return slices.DeleteFunc(strings.Split(value, ","), func(c string) bool { return c == "" })
}
