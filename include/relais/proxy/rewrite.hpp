#pragma once

/// \file
/// What an upstream says about its own address and its own paths, in the words of the client: redirects and cookies, without
/// any I/O.

#include <relais/config.hpp>
#include <relais/http/fields.hpp>

#include <string>
#include <string_view>

namespace relais {

/// One place by two names: what an upstream calls itself, and what its client calls it.
///
/// A path belongs to the upstream where it begins with `path`, which `client_path` takes the place of; where it begins with
/// `client_path` already and that is the longer of both, the upstream knows the client's paths and it stays. A URL belongs to the
/// upstream where its host and port are those of `authority`, `sent_host` or `client_authority`, and its scheme is the one that the
/// upstream is reached by or the one that it was told.
struct rewrite_sides {
    bool secure = false;          ///< the upstream is reached by https
    std::string_view authority{}; ///< of the upstream's URL; empty: it has none, as a Unix socket
    std::string_view sent_host{}; ///< the Host that it was sent
    std::string_view path{};      ///< of its URL, canonical; empty: no prefix is replaced

    bool client_secure = false;          ///< the client came by https
    std::string_view client_authority{}; ///< what the client asked for; empty: it did not say
    std::string_view client_path{};      ///< the prefix that was replaced, canonical
};

/// Rewrites a URL as Location and Content-Location have it.
///
/// What is absolute stays so, `//host/` and `/path` too; relative references, other hosts and what is no URL are left alone. An absolute
/// URL becomes a path where the client's authority is not known. A path that would be read as a host then
/// (`//`) is left alone.
/// \param result where the new value is stored. \return whether it is another one than `value`.
/// Source: RFC 3986, sections 3 and 4.2; RFC 9110, sections 8.7 and 10.2.2.
bool rewrite_location(std::string_view value, rewrite_sides const& between, std::string& result);

/// Rewrites the URL in Refresh: `5; url=http://host/`, quoted or not.
/// Source: HTML, "shared declarative refresh steps".
bool rewrite_refresh(std::string_view value, rewrite_sides const& between, std::string& result);

/// Rewrites Path and Domain of a Set-Cookie; everything else stays byte by byte.
///
/// A Domain that covers the upstream's host, but not the client's, would make the client refuse the cookie: it becomes `domain`, or
/// is taken off where that is empty. A `__Host-` cookie keeps its path: it is none with another one than "/".
/// Source: RFC 6265, sections 4.1.2 and 5.2; RFC 6265bis, section 4.1.3.
bool rewrite_cookie(std::string_view value, rewrite_sides const& between, std::string_view domain,
                    std::string& result);

/// Rewrites those of Location, Content-Location, Refresh and Set-Cookie that are in `which`.
/// \param domain as for `rewrite_cookie`.
void rewrite_fields(fields& head, known_fields which, rewrite_sides const& between,
                    std::string_view domain = {});

} // namespace relais

#if defined(RELAIS_HEADER_ONLY)
#include <relais/proxy/impl/rewrite.ipp>
#endif
