//! Every route on one page. `routes!` takes handler and description together, so no route is undocumented.

use std::sync::Arc;

use axum::Router;
use axum::http::StatusCode;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::error::ApiError;
use super::routes::endpoints::actions;
use super::routes::plugins::{bindings, trials};
use super::routes::{
    backup, contacts, deliveries, endpoints, events, login, pairing, plugins, replays, send, sessions, users, vault,
    webhook,
};
use super::{Site, docs, health, live, middleware};

/// The routes with their description.
pub(super) fn documented() -> OpenApiRouter<Arc<Site>> {
    OpenApiRouter::with_openapi(docs::frame())
        // The founding contract.
        .routes(routes!(login::login))
        .routes(routes!(sessions::list, sessions::create))
        .routes(routes!(sessions::get, sessions::delete))
        .routes(routes!(sessions::rename))
        .routes(routes!(webhook::get, webhook::set))
        .routes(routes!(pairing::connect))
        .routes(routes!(sessions::disconnect))
        .routes(routes!(send::send))
        .routes(routes!(contacts::check_number))
        .routes(routes!(contacts::groups))
        .routes(routes!(send::send_from))
        .routes(routes!(live::pairing::socket))
        // Added to it.
        .routes(routes!(pairing::qr_code))
        .routes(routes!(pairing::pair_code))
        .routes(routes!(contacts::follow_presence))
        .routes(routes!(endpoints::list, endpoints::add))
        .routes(routes!(endpoints::remove))
        .routes(routes!(endpoints::list_all, endpoints::add_to_account))
        .routes(routes!(endpoints::get, endpoints::change, endpoints::delete))
        .routes(routes!(actions::secret))
        .routes(routes!(actions::rotate))
        .routes(routes!(actions::enable))
        .routes(routes!(actions::disable))
        .routes(routes!(actions::test))
        .routes(routes!(deliveries::list))
        .routes(routes!(deliveries::get))
        .routes(routes!(deliveries::replay))
        .routes(routes!(deliveries::skip))
        .routes(routes!(replays::list, replays::start))
        .routes(routes!(replays::get, replays::cancel))
        .routes(routes!(events::list))
        .routes(routes!(live::events::stream))
        .routes(routes!(live::events::socket))
        .routes(routes!(events::trace))
        .routes(routes!(events::trace_message))
        .routes(routes!(plugins::list, plugins::install))
        .routes(routes!(plugins::check))
        .routes(routes!(plugins::get, plugins::change, plugins::remove))
        .routes(routes!(plugins::versions, plugins::add_version))
        .routes(routes!(plugins::logs))
        .routes(routes!(plugins::release))
        .routes(routes!(bindings::list, bindings::bind))
        .routes(routes!(bindings::change, bindings::unbind))
        .routes(routes!(trials::dry_run))
        .routes(routes!(trials::replay))
        .routes(routes!(login::password))
        .routes(routes!(login::me))
        .routes(routes!(users::list, users::add))
        .routes(routes!(users::reset))
        .routes(routes!(users::remove))
        .routes(routes!(vault::status))
        .routes(routes!(vault::rotation))
        .routes(routes!(vault::rotate))
        .routes(routes!(backup::get, backup::create))
        .routes(routes!(health::version))
        .routes(routes!(health::livez))
        .routes(routes!(health::readyz))
        .routes(routes!(docs::yaml))
}

/// The routes, ready to serve.
pub(super) fn build(site: Arc<Site>) -> Router {
    let (routes, _) = documented().split_for_parts();
    let routes = routes.fallback(no_route).method_not_allowed_fallback(no_method);
    middleware::around(routes, &site.parts.config).with_state(site)
}

async fn no_route() -> ApiError {
    ApiError::new(StatusCode::NOT_FOUND, "no_such_route", "nothing answers at this address")
        .hint("the addresses are listed in /api-docs.yaml")
}

async fn no_method() -> ApiError {
    ApiError::new(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", "this address does not take this method")
        .hint("the header Allow lists the methods it takes")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The paths axum serves, taken from its debug output, the only place that lists them.
    fn served(router: &Router<Arc<Site>>) -> Vec<String> {
        let debug = format!("{router:?}");
        let own = debug.split("fallback_router").next().unwrap_or_default();
        let paths = own.split("RouteId(").filter_map(|part| part.split_once("): \"")?.1.split('"').next());
        let mut paths: Vec<String> = paths.filter(|path| path.starts_with('/')).map(str::to_owned).collect();
        paths.sort();
        paths.dedup();
        paths
    }

    #[test]
    fn every_route_is_documented() {
        let (router, api) = documented().split_for_parts();
        let mut described: Vec<String> = api.paths.paths.keys().cloned().collect();
        described.sort();
        let served = served(&router);
        assert!(served.len() > 15, "axum's debug output no longer lists its paths: {router:?}");
        assert_eq!(served, described);
        let undocumented = router.route("/api/undocumented", axum::routing::get(no_route));
        assert!(self::served(&undocumented).contains(&"/api/undocumented".to_owned()), "the listing sees every route");
    }

    #[test]
    fn operations_have_unique_verbs_and_summaries() {
        let (_, api) = documented().split_for_parts();
        let mut seen = std::collections::BTreeSet::new();
        for (path, item) in &api.paths.paths {
            let operations = [&item.get, &item.post, &item.put, &item.patch, &item.delete];
            for operation in operations.into_iter().flatten() {
                let id = operation.operation_id.clone().unwrap();
                assert!(id.starts_with(char::is_lowercase) && seen.insert(id), "{path}");
                assert!(operation.summary.is_some() && operation.tags.is_some(), "{path}");
            }
        }
    }
}
