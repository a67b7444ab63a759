//! What a heap holds, by type: for whoever ran out of it.

use super::store::StoreOpaque;
use crate::api::{LiveObjects, LiveType};
use gc_api::{EXTERN_TYPE, TypeIndex};
use rustc_hash::FxHashMap;

/// Types that are told apart; the others are taken together.
const TYPES: usize = 5;

/// The objects that the collector has not found dead. Cost: a look at each object's header.
pub fn objects(store: &StoreOpaque) -> LiveObjects {
    let mut counts: FxHashMap<TypeIndex, (u64, u64)> = FxHashMap::default();
    let (memory, shapes) = (store.memory(), store.registry().shapes());
    store.heap().for_each_object(&mut |object| {
        let (objects, bytes) = counts.entry(memory.header(&object).ty()).or_default();
        *objects += 1;
        *bytes += shapes.size_of(memory, &object);
    });
    let mut types: Vec<_> = counts.into_iter().collect();
    types.sort_unstable_by_key(|(ty, (_, bytes))| (std::cmp::Reverse(*bytes), *ty));
    let sum = |counts: &[(TypeIndex, (u64, u64))]| {
        counts.iter().fold((0, 0), |sum, (_, counts)| (sum.0 + counts.0, sum.1 + counts.1))
    };
    let (objects, bytes) = sum(&types);
    let rest = types.split_off(types.len().min(TYPES));
    let mut types: Vec<LiveType> =
        types.into_iter().map(|(ty, (objects, bytes))| LiveType { name: name(store, ty), objects, bytes }).collect();
    if !rest.is_empty() {
        let (objects, bytes) = sum(&rest);
        types.push(LiveType { name: format!("{} other types", rest.len()), objects, bytes });
    }
    LiveObjects { objects, bytes, types }
}

/// What a module calls a type, or what the type is.
fn name(store: &StoreOpaque, ty: TypeIndex) -> String {
    if ty == EXTERN_TYPE {
        return "values of the host's".to_string();
    }
    let named = store.modules().iter().find_map(|module| {
        let index = module.info.types.indices().iter().position(|known| *known == ty)?;
        Some(format!("${}", module.info.type_names.get(&(index as u32))?))
    });
    named.unwrap_or_else(|| store.registry().get(ty).composite.to_string())
}
