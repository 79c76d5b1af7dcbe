#pragma once

#include <relais/websocket/handshake.hpp>

#include <openssl/evp.h>

#include <algorithm>
#include <stdexcept>

namespace relais {

namespace detail {

// 16 bytes are 22 characters of base64 and two of padding.
inline bool is_websocket_key(std::string_view key) noexcept {
    auto const in_alphabet = [](char c) {
        return (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') ||
               c == '+' || c == '/';
    };
    return key.size() == 24 && key.ends_with("==") &&
           std::all_of(key.begin(), key.end() - 2, in_alphabet);
}

inline std::string_view extension_name(std::string_view element) noexcept {
    std::string_view name = element.substr(0, element.find(';'));
    while (name.ends_with(' ') || name.ends_with('\t'))
        name.remove_suffix(1);
    return name;
}

inline bool offers_extension(fields const& asked, std::string_view name) noexcept {
    for (std::string_view rest : asked.all(known_field::sec_websocket_extensions))
        while (true) {
            std::string_view const element = next_list_element(rest);
            if (element.empty())
                break;
            if (equal_ignoring_case(extension_name(element), name))
                return true;
        }
    return false;
}

// Names of subprotocols are told apart by case, as every implementation does.
inline bool offers_protocol(fields const& asked, std::string_view name) noexcept {
    for (std::string_view rest : asked.all(known_field::sec_websocket_protocol))
        while (true) {
            std::string_view const element = next_list_element(rest);
            if (element.empty())
                break;
            if (element == name)
                return true;
        }
    return false;
}

} // namespace detail

RELAIS_DECL websocket_request_check check_websocket_request(verb method, unsigned version,
                                                            fields const& head,
                                                            bool has_body) noexcept {
    if (method != verb::get || version != 11 ||
        !head.has_token(known_field::upgrade, "websocket") ||
        !head.has_token(known_field::connection, "upgrade"))
        return {};
    auto const rejected = [](end_reason why, std::string_view sentence) {
        return websocket_request_check{websocket_request::rejected, why, sentence};
    };
    if (head.count(known_field::sec_websocket_version) != 1 ||
        head[known_field::sec_websocket_version] != "13")
        return rejected(end_reason::upgrade_required,
                        "a WebSocket needs Sec-WebSocket-Version: 13");
    if (head.count(known_field::sec_websocket_key) != 1)
        return rejected(end_reason::bad_websocket,
                        "a WebSocket needs exactly one Sec-WebSocket-Key");
    if (!detail::is_websocket_key(head[known_field::sec_websocket_key]))
        return rejected(end_reason::bad_websocket,
                        "Sec-WebSocket-Key has to be 16 bytes in base64");
    if (has_body)
        return rejected(end_reason::bad_websocket, "a request for a WebSocket has no body");
    return {websocket_request::valid, end_reason::completed, {}};
}

RELAIS_DECL void ask_for_websocket(fields& to_upstream) {
    to_upstream.set_view(known_field::connection, "Upgrade");
    to_upstream.set_view(known_field::upgrade, "websocket");
}

RELAIS_DECL std::string accept_key(std::string_view key) {
    std::string text(key);
    text += "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
    unsigned char digest[EVP_MAX_MD_SIZE];
    unsigned size = 0;
    if (EVP_Digest(text.data(), text.size(), digest, &size, EVP_sha1(), nullptr) != 1)
        throw std::runtime_error("OpenSSL has no SHA-1, which the WebSocket handshake needs");
    unsigned char encoded[(EVP_MAX_MD_SIZE + 2) / 3 * 4 + 1];
    int const length = EVP_EncodeBlock(encoded, digest, static_cast<int>(size));
    return {reinterpret_cast<char const*>(encoded), static_cast<std::size_t>(length)};
}

RELAIS_DECL upgrade_check validate_upgrade(fields const& asked, unsigned code,
                                           fields const& answered) {
    upgrade_check result;
    auto const reject = [&result](std::string_view sentence) {
        result.reason = end_reason::bad_upgrade;
        result.sentence = sentence;
    };
    auto const at_most_once = [&answered](known_field id) { return answered.count(id) <= 1; };

    std::string_view const protocol = answered[known_field::sec_websocket_protocol];
    if (code != 101) {
        reject("the answer to a WebSocket is not a 101");
    } else if (!at_most_once(known_field::upgrade) ||
               !equal_ignoring_case(answered[known_field::upgrade], "websocket")) {
        reject("Upgrade of the 101 is not websocket");
    } else if (!answered.has_token(known_field::connection, "upgrade")) {
        reject("Connection of the 101 does not list upgrade");
    } else if (!at_most_once(known_field::sec_websocket_accept) ||
               answered[known_field::sec_websocket_accept] !=
                   accept_key(asked[known_field::sec_websocket_key])) {
        reject("Sec-WebSocket-Accept of the 101 does not belong to the key");
    } else if (!at_most_once(known_field::sec_websocket_protocol) ||
               (answered.contains(known_field::sec_websocket_protocol) &&
                !detail::offers_protocol(asked, protocol))) {
        reject("Sec-WebSocket-Protocol of the 101 was not offered");
    } else {
        validated_upgrade upgrade;
        upgrade.protocol_ = protocol;
        for (std::string_view const value : answered.all(known_field::sec_websocket_extensions)) {
            for (std::string_view rest = value;;) {
                std::string_view const element = next_list_element(rest);
                if (element.empty())
                    break;
                if (detail::offers_extension(asked, detail::extension_name(element)))
                    continue;
                reject("Sec-WebSocket-Extensions of the 101 has one that was not offered");
                return result;
            }
            if (!upgrade.extensions_.empty() && !value.empty())
                upgrade.extensions_ += ", ";
            upgrade.extensions_ += value;
        }
        result.upgrade.emplace(std::move(upgrade));
    }
    return result;
}

} // namespace relais
